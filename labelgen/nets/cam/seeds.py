"""Raw class maps of one image from a trained classifier: its own class activation maps, or maps from gradients."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from labelgen.errors import ConfigError
from labelgen.nets.cam.classifier import CamClassifier, ClassMaps
from labelgen.nets.cam.gradcam import GRADIENT_MAPS, grad_cam, layer_grad_cam, tokens
from labelgen.nets.cam.multiscale import ImageMaps, Look, Views, look_at_views, seen_pixels

__all__ = ["MAP_KINDS", "MapKind", "class_probabilities", "gap_look", "gradient_look", "look_of", "raw_maps"]

MapKind = Literal["gap", "gradcam", "hirescam", "layercam", "gradcam++"]
MAP_KINDS: tuple[MapKind, ...] = ("gap", *GRADIENT_MAPS)


def raw_maps(
    classifier: CamClassifier,
    image: UInt8[np.ndarray, "H W 3"],
    channels: Sequence[int],
    views: Views,
    *,
    kind: str = "gap",
    layer: str = "",
) -> ImageMaps:
    """Maps of some channels of a classifier over all views of an image.

    Parameters
    ----------
    channels
        Of the classifier; what is left out is never in the sum, as in PSA, SEAM and EPS.
    kind
        One of `MAP_KINDS`.
    layer
        For maps from gradients: see `gradient_look`.

    Raises
    ------
    ConfigError
        When the kind or the layer is unknown, or a layer is named that has no say.
    """
    look = look_of(classifier, channels, kind=kind, layer=layer)
    about = {"multiple": classifier.multiple, "mean": classifier.mean, "std": classifier.std}
    return look_at_views(look, image, views, device=classifier.device, **about)


def look_of(classifier: CamClassifier, channels: Sequence[int], *, kind: str, layer: str = "") -> Look:
    """The function that looks at a batch; see `raw_maps`."""
    if kind not in MAP_KINDS:
        raise ConfigError(f"unknown kind of map {kind!r}", hint=f"there are {', '.join(MAP_KINDS)}")
    if kind != "gap":
        return gradient_look(classifier, channels, how=kind, layer=layer)
    if layer:
        raise ConfigError(f"layer has no say with maps gap, got {layer!r}", hint="maps gradcam or layercam have layers")
    return gap_look(classifier, channels)


def gap_look(classifier: CamClassifier, channels: Sequence[int]) -> Look:
    """The classifier's own maps (SEAM: correlated; EPS: probabilities) of some channels.

    A SEAM classifier that was trained to correlate only the maps of present classes does so here too.
    """
    wanted = list(channels)
    gated = classifier.about.get("training", {}).get("seam", {}).get("gate_correlation", False)

    def look(images: Tensor) -> ClassMaps:
        present = None
        if gated:
            present = torch.zeros(len(images), len(classifier.class_ids), device=images.device)
            present[:, wanted] = 1
        maps = classifier.maps(images, present=present)
        return ClassMaps(maps.foreground[:, wanted], maps.background)

    return look


def gradient_look(classifier: CamClassifier, channels: Sequence[int], *, how: str, layer: str = "") -> Look:
    """Maps from gradients of the image-level logits; the network's background is not among them.

    Parameters
    ----------
    layer
        Name of a layer of the backbone, such as `blocks.4` or `layer3`; empty for the features that the head reads,
        where Grad-CAM is the class activation map up to a factor.
    """
    wanted = list(channels)
    network = classifier.network

    def scores(images: Tensor) -> Tensor:
        return classifier.logits_of_features(classifier.features(images))

    def look(images: Tensor) -> ClassMaps:
        if layer:
            stride = network.reading.stride
            grid = (images.shape[2] // stride, images.shape[3] // stride)
            arrange = tokens(grid) if network.reading.family == "vit" else None
            found = layer_grad_cam(network.body, layer, images, wanted, how=how, arrange=arrange, forward=scores)
        else:
            found = grad_cam(classifier.features, classifier.logits_of_features, images, wanted, how=how)
        # scores are means over places, so that gradients fall with their number; without this factor small views would
        # outweigh large ones in the sum over scales. The weights of Grad-CAM++ are sums, which do not fall.
        places = 1 if how == "gradcam++" else found.maps.shape[2] * found.maps.shape[3]
        return ClassMaps(found.maps * places)

    return look


def class_probabilities(classifier: CamClassifier, image: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "C"]:
    """How likely the classifier holds each of its classes to be in an image: sigmoid of the logits, both ways round.

    The logits are those of the image at its own size and of its mirror image, averaged.
    """
    size = (image.shape[0], image.shape[1])
    about = {"multiple": classifier.multiple, "mean": classifier.mean, "std": classifier.std}
    batch = seen_pixels(image, size, flip=True, **about).to(classifier.device)
    with torch.inference_mode():
        logits = classifier.logits_of_features(classifier.features(batch))
    return logits.mean(dim=0).sigmoid().float().cpu().numpy()
