"""What a fit, features or a comparison would take: a little of it is done, timed, and thrown away."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.data import Dataset
from labelgen.estimate import bytes_below, spread
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import Backbone, load_backbone
from labelgen.nets.device import resolve_device
from segprobe.config import FitConfig
from segprobe.features import View, cache_fingerprint, cache_name
from segprobe.features.build import build_cache, missing_images
from segprobe.fit import check_layers, fit_head, ids_to_cache, picture_features, views_of
from segprobe.head_settings import CLOSED_FORM
from segprobe.labels import Labels, read_labels
from segprobe.layers import Layers, LayerSource
from segprobe.terms import check_terms
from segprobe.tuning.network import load_trainable

__all__ = ["FeatureEstimate", "FitEstimate", "estimate_features", "estimate_fit"]

MOST, LEAST = 16, 2  # images that are timed: the usual batch, and what shows how time grows
PATIENCE = 10.0  # seconds that features may take for an estimate
STEPS = (2, 6)  # updates of the two trainings whose difference is timed; with a network that is trained, half of them


@dataclass(frozen=True)
class FeatureEstimate:
    """What features would cost.

    Parameters
    ----------
    images
        Whose features are not there yet.
    timed
        Images that were tried.
    seconds, bytes
        Of all that are missing.
    """

    images: int
    timed: int
    seconds: float
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "seconds": round(self.seconds, 2)}


@dataclass(frozen=True)
class FitEstimate:
    """What a fit would cost.

    Parameters
    ----------
    features
        What comes first; None where a network is trained on the images themselves.
    images
        With labels, before those without a labelled pixel are left out.
    steps
        Updates; 0 for a head in closed form.
    seconds
        Of the training alone.
    bytes
        Of the probe.
    """

    features: FeatureEstimate | None
    images: int
    steps: int
    seconds: float
    bytes: int

    @property
    def all_seconds(self) -> float:
        """With the features."""
        return self.seconds + (self.features.seconds if self.features else 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        features = self.features.to_json() if self.features else None
        return {**asdict(self), "features": features, "seconds": round(self.seconds, 2)}


def estimate_features(
    dataset: Dataset,
    ids: Sequence[str],
    backbone: Backbone,
    root: Path,
    *,
    views: Sequence[View],
    dtype: str = "float16",
    batch_size: int = 8,
    place: Path | None = None,
) -> FeatureEstimate:
    """Time the features of a few images.

    Parameters
    ----------
    root
        Folder below which those that are there already lie.
    place
        Folder to write the features that are tried into; None for one that is removed.
    """
    name = cache_name(cache_fingerprint(dataset, ids, backbone, views=views, dtype=dtype))
    missing = missing_images(root / name, ids)
    if not missing and place is None:
        return FeatureEstimate(0, 0, 0.0, 0)
    with tempfile.TemporaryDirectory(prefix="segprobe-estimate-") as temporary:
        folder = Path(temporary)
        made = {"views": views, "dtype": dtype, "batch_size": batch_size}
        seconds = []
        for number in range(2):  # the first also pays for what comes once
            begin = time.perf_counter()
            build_cache(dataset, spread(ids, 1), backbone, folder / str(number), **made)
            seconds.append(time.perf_counter() - begin)
        count = max(LEAST, min(MOST, int(PATIENCE / max(seconds[1], 1e-3))))
        tried = spread(ids, count)
        begin = time.perf_counter()
        build_cache(dataset, tried, backbone, place or folder / "tried", **made)
        each = (time.perf_counter() - begin) / len(tried)
        size = bytes_below(place or folder / "tried") / len(tried)
    return FeatureEstimate(len(missing), len(tried), each * len(missing), round(size * len(missing)))


def estimate_fit(
    source: Labels,
    dataset: Dataset,
    *,
    backbone: BackboneConfig,
    config: FitConfig,
    cache: Path = Path("cache"),
    device: str = "auto",
    share: float = 1.0,
) -> FitEstimate:
    """Time a few updates on a few images.

    Parameters
    ----------
    share
        Of the images with labels that is trained on, such as all folds but one; features are those of all.

    Raises
    ------
    LabelgenError
        Where the fit would be refused: labels of other images, settings that do not go together, missing weights.
    """
    named = LayerSource(source, config.layer) if config.layer else source
    labelled = sorted(set(source.ids) & set(dataset.ids)) or list(dataset.ids)
    every = ids_to_cache(labelled, dataset.ids)
    trains = config.trains_network
    frozen = load_trainable(backbone, config, device=device) if trains else load_backbone(backbone, device=device)
    check_layers(config, frozen.config)
    layers = Layers(source) if config.terms else None
    with tempfile.TemporaryDirectory(prefix="segprobe-estimate-") as temporary:
        place, cost = Path(temporary), None
        if not trains:
            cost = estimate_features(dataset, every, frozen, cache, views=views_of(config), place=place / "features")
        ids = spread(labelled, cost.timed if cost else LEAST)
        asked = {"confidence": config.confidence, "min_confidence": config.min_confidence, "only": ids}
        labels = read_labels(named, dataset, **asked)
        check_terms(config.term_steps, labels, layers)
        if trains:
            features: Any = picture_features(dataset, ids, frozen, config)
        else:
            features = build_cache(dataset, ids, frozen, place / "labelled", views=views_of(config))
        solved = config.head_choice.name in CLOSED_FORM
        seconds, parameters = [], 0
        for steps in STEPS if not solved else STEPS[:1]:
            short = config if solved else _short(config, max(1, steps // 2) if trains else steps)
            begin = time.perf_counter()
            fitted = fit_head(
                labels, features, short, images=dataset, layers=layers, device=str(resolve_device(device))
            )
            seconds.append(time.perf_counter() - begin)
            parameters = sum(tensor.numel() for tensor in fitted.head.state_dict().values())
    size = 4 * parameters + (4 * sum(p.numel() for p in frozen.model.parameters()) if trains else 0)
    images = max(1, round(share * len(labelled)))
    if solved:
        return FitEstimate(cost, images, 0, seconds[0] * images / len(labels.ids), size)
    steps = config.steps or config.epochs * -(-images // config.batch_size)
    made = (STEPS[1] - STEPS[0]) / (2 if trains else 1)
    each = max(seconds[1] - seconds[0], 0.0) / made
    each *= min(config.batch_size, images) / min(config.batch_size, len(labels.ids))
    rounds = 1 + config.rounds if config.correction is not None else 1
    return FitEstimate(cost, images, steps, seconds[0] + each * steps * rounds, size)


def _short(config: FitConfig, steps: int) -> FitConfig:
    """The same training for a few updates; rounds of corrections repeat it, and are counted instead."""
    return replace(config, steps=steps, rounds=0, correct=FitConfig.correct)
