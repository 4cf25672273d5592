"""A trained image-level classifier as a source of class maps: raw maps, features, logits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labelgen.nets.cam.config import CamMethod
from labelgen.nets.cam.network import CamNetwork

__all__ = ["CamClassifier", "ClassMaps"]


@dataclass(frozen=True)
class ClassMaps:
    """Class maps of a batch, before any ReLU, normalisation or gating by tags.

    Parameters
    ----------
    foreground
        A channel for each class of the classifier. cam: raw and signed; seam: after pixel correlation, >= 0; eps:
        probabilities of a softmax over classes and background.
    background
        seam: the correlated background; eps: its probability; cam has none.
    """

    foreground: Float[Tensor, "B C h w"]
    background: Float[Tensor, "B 1 h w"] | None = None


@dataclass(frozen=True)
class CamClassifier:
    """A frozen network with the classes of its channels.

    Parameters
    ----------
    network
        In eval mode, frozen, on its device.
    method
        How it was trained: cam, seam or eps.
    class_ids
        Vocabulary id of each channel, rising.
    class_names
        Their names.
    vocabulary
        Name of the vocabulary that the ids belong to.
    sha256
        Of the weight file; empty for a network that is in no file.
    about
        All that the file says: data, settings, versions, figures.
    """

    network: CamNetwork
    method: CamMethod
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    vocabulary: str
    sha256: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> tuple[float, ...]:
        """Of RGB in [0, 1], by which images are normalised."""
        return self.network.reading.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Of RGB in [0, 1], by which images are normalised."""
        return self.network.reading.std

    @property
    def multiple(self) -> int:
        """Sides of images must be multiples of this many pixels."""
        return self.network.reading.multiple

    @property
    def stride(self) -> int:
        """Pixels per cell of the maps."""
        return self.network.reading.stride

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.head.weight.device

    def maps(self, images: Float[Tensor, "B 3 H W"], *, present: Float[Tensor, "B C"] | None = None) -> ClassMaps:
        """Class maps of normalised images, sides multiples of `multiple`; without gradient.

        Parameters
        ----------
        present
            seam: 1 for the classes whose maps compete for the pixels before they are correlated, 0 for those left out;
            all without it, as in the published program. The others do not look at it.
        """
        with torch.inference_mode():
            output = self.network(images, present=present)
        if self.method == "eps":
            probabilities = output.maps.softmax(dim=1)
            return ClassMaps(probabilities[:, :-1], probabilities[:, -1:])
        if output.correlated is not None:
            return ClassMaps(output.correlated[:, 1:], output.correlated[:, :1])
        return ClassMaps(output.maps)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        """What the head reads."""
        return self.network.layers(images)[-1]

    def logits_of_features(self, features: Float[Tensor, "B K h w"]) -> Float[Tensor, "B C"]:
        """Image-level logits of the classes from features; differentiable by the features."""
        return self.network.logits(self.network.head(features))
