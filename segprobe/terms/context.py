"""What terms can see: labels by token, colours, layers, and the features of the data set."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from labelgen.errors import ConfigError
from labelgen.nets.geometry import Geometry
from segprobe.batches import UNLABELLED, FeatureSource
from segprobe.cells import cell_counts, inside_box, majority
from segprobe.guides import Guides, ImageSource
from segprobe.heads import Head
from segprobe.labels import ImageLabels, LabelSet
from segprobe.layers import Layers, need_layer
from segprobe.memory import Memory
from segprobe.objective import GridView

__all__ = ["TermContext", "box_of", "in_space", "nothing"]

LIMIT = 2**28  # bytes of labels by token: 2 a token


class TermContext:
    """What terms are made from.

    Parameters
    ----------
    labels
        Those that the loss at pixels reads.
    head
        Whose logits the terms judge.
    features
        Tokens of all images in all views, if they stay as they are; None when the backbone is tuned.
    images
        Where images come from; None when there are only features.
    layers
        Layers and classes of the images; None when there are only label maps.
    seed
        Of the weights that a term trains.
    """

    def __init__(
        self,
        labels: LabelSet,
        head: Head,
        *,
        features: FeatureSource | None = None,
        images: ImageSource | None = None,
        layers: Layers | None = None,
        seed: int = 0,
    ) -> None:
        self.labels = labels
        self.head = head
        self.features = features
        self.layers = layers
        self.seed = seed
        self.guides = None if images is None else Guides(images)
        self.column_of = np.full(labels.vocabulary.num_classes, UNLABELLED, np.int64)
        self.column_of[list(labels.class_ids)] = np.arange(len(labels.class_ids))
        self._memory = Memory(limit=LIMIT)

    @property
    def background(self) -> int:
        """Column of the background, or -1."""
        background = self.labels.vocabulary.background
        return UNLABELLED if background is None else int(self.column_of[background])

    def columns(self, sample_id: str, geometry: Geometry, *, layer: str = "") -> Int64[Tensor, "h w"]:
        """Column of the class of each token by the majority of the labelled pixels in its cell, or -1.

        Parameters
        ----------
        layer
            Whose labels; empty for those that the loss at pixels reads.
        """
        found = self._memory.get(
            (sample_id, geometry, layer),
            lambda: majority(self.counts(sample_id, geometry, layer=layer)).astype(np.int16),
            size=lambda columns: columns.nbytes,
        )
        return torch.from_numpy(found.astype(np.int64))

    def counts(self, sample_id: str, geometry: Geometry, *, layer: str = "") -> Int64[np.ndarray, "h w C"]:
        """Labelled pixels of each class in each cell."""
        return cell_counts(self.image_labels(sample_id, layer=layer), geometry, self.column_of)

    def image_labels(self, sample_id: str, *, layer: str = "") -> ImageLabels:
        """The labels of an image, or one of its layers."""
        if not layer:
            return self.labels.images[sample_id]
        return need_layer(self.layers, layer, of="a term").read(layer, sample_id)

    def need_guides(self, *, of: str) -> Guides:
        """The colours of the images.

        Raises
        ------
        ConfigError
            When there are no images.
        """
        if self.guides is None:
            raise ConfigError(f"{of} looks at colours and needs images, got features alone", hint="give images=DATASET")
        return self.guides

    def need_projection(self, *, of: str) -> None:
        """Refuse heads that do not project tokens.

        Raises
        ------
        ConfigError
            Naming the head that does.
        """
        if not hasattr(self.head, "project"):
            raise ConfigError(
                f"{of} acts on projected tokens, got a head without a projection", hint="take --head projection"
            )


def box_of(view: GridView) -> tuple[slice, slice]:
    """Rows and columns of the grid that lie on the image."""
    return inside_box(view.image.geometry)


def nothing(view: GridView) -> Float[Tensor, ""]:
    """Exactly 0, with a gradient of exactly 0."""
    return view.logits[:0].sum()


def in_space(view: GridView, space: str) -> Float[Tensor, "h w d"]:
    """Tokens in the space in which a term compares them: standardised, or projected by the head."""
    if space == "projection":
        return view.head.project(view.tokens)  # type: ignore[operator]
    return view.head.standardised(view.tokens)
