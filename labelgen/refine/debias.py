"""Debiasing: what seeds call a class, though it occurs as well where the class is absent, becomes background."""

import dataclasses
import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.nets.geometry import Geometry
from labelgen.refine.bias import Biases, ImageTokens, find_biases, unit_features
from labelgen.refine.cells import cells_to_pixels, pixels_to_cells
from labelgen.refine.clusters import nearest
from labelgen.refine.refiner import Pairs, Refiner, background_of, check_settings
from labelgen.refine.token_network import MOST_TOKENS, network_facts, network_of, settle_network

if TYPE_CHECKING:
    from labelgen.nets.backbones import Backbone

__all__ = ["DEBIAS", "DebiasConfig", "fit_debias", "make_debias", "without_bias"]


NOTICE = logging.getLogger("labelgen.notice")  # the command line shows it


@dataclass(frozen=True)
class DebiasConfig:
    """Take from a class what comes with it but is not it: rails from trains, water from boats.

    The data set is read once before its first image is refined. Frozen self-supervised features of what the seeds call
    a class are clustered over all images; a cluster that is also found in the background of images without the class,
    nearly as often, is background there too. Its pixels lose their score for the class to background.

    The idea is that of MARS [1]_, whose code was never published; the criterion is our own. It can find only what
    occurs without the class too, and it takes image-level labels that are right.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Jo et al., "MARS: Model-agnostic Biased Object Removal without Additional Supervision for Weakly-Supervised
       Semantic Segmentation", ICCV 2023, arXiv 2304.09913.
    """

    backbone: Annotated[str, "demo-ssvt or a timm model; empty for demo-ssvt on demo data, else a small DINOv2"] = ""
    weights: Annotated[str, "checkpoint file; empty for the published weights"] = ""
    clusters: Annotated[int, "clusters of the regions of each class"] = 8
    ratio: Annotated[float, "drop clusters at least so often in images without the class as in its regions"] = 0.5
    members: Annotated[float, "share of a cluster's own patches that a match must be as near as one of"] = 0.5
    min_images: Annotated[int, "classes in fewer images, or absent from fewer, keep all"] = 10
    images: Annotated[int, "images to learn from, at most"] = 500
    patches: Annotated[int, "patches of each region to learn from, at most"] = 128
    tokens: Annotated[int, "patches along the short side of the image"] = 32
    device: Annotated[str, "torch device; auto takes CUDA where there is one"] = "auto"
    background_id: Annotated[int, "class id of background; that of the vocabulary where it is known"] = 0

    def __post_init__(self) -> None:
        check_settings(self, of_choice={}, choice="")
        for name in ("min_images", "images", "patches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.clusters < 2:
            raise ConfigError(f"clusters must be >= 2, since one of a class always stays, got {self.clusters}")
        if self.ratio <= 0 or not 0 < self.members <= 1:
            raise ConfigError(f"ratio must be > 0 and members lie in (0, 1], got {self.ratio} and {self.members}")
        if not 1 <= self.tokens <= MOST_TOKENS:
            raise ConfigError(f"tokens must lie in [1, {MOST_TOKENS}], got {self.tokens}")


def fit_debias(config: DebiasConfig, pairs: Pairs) -> Biases:
    """Learn from the masks of a data set which clusters of features are background.

    Images without any class but background count among those without a class.

    Raises
    ------
    DataError
        When there is not a single image.
    """
    network, rng = network_of(config), np.random.default_rng(0)
    images = [
        _some_tokens(*_tokens_of(sample.need_image(), network, config.tokens), mask, config, rng)
        for sample, mask in itertools.islice(pairs, config.images)
    ]
    if not images:
        raise DataError("debias has no image to learn from", hint="do the images have masks?")
    biases = find_biases(
        images,
        clusters=config.clusters,
        ratio=config.ratio,
        members=config.members,
        min_images=config.min_images,
        rng=rng,
    )
    if not any(found.dropped.any() for found in biases.classes.values()):
        why = f"{len(biases.classes)} classes were in {config.min_images} images or more, and none had such a cluster"
        NOTICE.info("debias found nothing that is background (%s): it changes no label", why)
    return biases


def make_debias(config: DebiasConfig, state: Biases) -> Refine:
    """Load the network and build the refiner.

    Raises
    ------
    ConfigError, WeightsError
        As `labelgen.nets.backbones.load_backbone`.
    """
    network = network_of(config)

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        if not any(state.classes[i].dropped.any() for i in mask.class_ids if i in state.classes):
            return mask
        features, geometry = _tokens_of(sample.need_image(), network, config.tokens)
        return without_bias(mask, features, geometry, state, background=config.background_id)

    return refine


def without_bias(
    mask: SoftMask, features: Float32[np.ndarray, "h w D"], geometry: Geometry, biases: Biases, *, background: int
) -> SoftMask:
    """Move the scores of a class to background where the features are of a dropped cluster of it.

    Background gets the score where the class was the best, and else keeps its own.

    Parameters
    ----------
    features
        Of the cells of `geometry`.
    background
        Class id; a plane for it is made where there is none.
    """
    mask = _with_plane(mask, background)
    unit = unit_features(features.reshape(-1, features.shape[2]), biases.mean)
    best = mask.scores.argmax(axis=0)
    scores, everywhere = mask.scores.copy(), np.ones(geometry.grid, np.float32)
    to = mask.class_ids.index(background)
    for plane, class_id in enumerate(mask.class_ids):
        clusters = biases.classes.get(class_id)
        if clusters is None or class_id == background:
            continue
        drop = clusters.dropped[nearest(unit, clusters.centres)].reshape(1, *geometry.grid)
        is_dropped = cells_to_pixels(drop.astype(np.float32), everywhere, geometry)[0] > 0.5
        moved = is_dropped & (best == plane)
        scores[to][moved] = np.maximum(scores[to], scores[plane])[moved]
        scores[plane][is_dropped] = 0
    return dataclasses.replace(mask, scores=scores)


def _with_plane(mask: SoftMask, class_id: int) -> SoftMask:
    if class_id in mask.class_ids:
        return mask
    place = sum(other < class_id for other in mask.class_ids)
    scores = np.insert(mask.scores, place, 0, axis=0)
    class_ids = (*mask.class_ids[:place], class_id, *mask.class_ids[place:])
    return dataclasses.replace(mask, scores=scores, class_ids=class_ids)


def _tokens_of(image: UInt8[np.ndarray, "H W 3"], network: "Backbone", tokens: int) -> tuple[np.ndarray, Geometry]:
    native = network.config.size or min(image.shape[:2])
    picture, geometry = network.prepare(image, scale=tokens * network.spec.stride / native)
    return network.tokens(picture[None])[0].cpu().numpy(), geometry


def _some_tokens(
    features: np.ndarray, geometry: Geometry, mask: SoftMask, config: DebiasConfig, rng: np.random.Generator
) -> ImageTokens:
    """Up to so many features of the region of each class and of background."""
    sums, votes = pixels_to_cells(mask.scores, geometry)
    best = sums.argmax(axis=0) if len(sums) else np.zeros(geometry.grid, int)
    voted = votes > 0

    def some(region: Bool[np.ndarray, "h w"]) -> np.ndarray:
        found = features[region & voted]
        if len(found) <= config.patches:
            return found
        return found[np.sort(rng.choice(len(found), config.patches, replace=False))]

    regions = {class_id: best == plane for plane, class_id in enumerate(mask.class_ids)}
    background = regions.pop(config.background_id, np.zeros(geometry.grid, bool))
    return ImageTokens({class_id: some(region) for class_id, region in regions.items()}, some(background))


DEBIAS = Refiner(
    DebiasConfig,
    make_debias,
    argument="backbone",
    settle=settle_network,
    models=network_facts,
    settle_classes=background_of,
    fit=fit_debias,
)
