"""What a cross-fit would take: one fit and a few predictions are tried, and multiplied."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.data import Dataset
from labelgen.estimate import IMAGES, RunEstimate, estimate_run, spread
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import load_backbone
from labelgen.run import RunOptions
from segprobe.config import FitConfig
from segprobe.crossfit import MakeHeldOut, Part, held_out_job, refuse_networks
from segprobe.estimate import FitEstimate, estimate_fit
from segprobe.features.build import build_cache
from segprobe.fit import fit, ids_to_cache, views_of
from segprobe.folds import assign_folds
from segprobe.head_settings import CLOSED_FORM
from segprobe.labels import Labels
from segprobe.probe_file import open_probe

__all__ = ["CrossfitEstimate", "estimate_crossfit"]


@dataclass(frozen=True)
class CrossfitEstimate:
    """What a cross-fit would cost.

    Parameters
    ----------
    folds
        Probes to fit.
    fit
        Of one of them, with the features that all of them share.
    predictions
        Of all images, by the probes.
    """

    folds: int
    fit: FitEstimate
    predictions: RunEstimate

    @property
    def seconds(self) -> float:
        """Of features, fits and predictions."""
        features = self.fit.features.seconds if self.fit.features else 0.0
        return features + self.folds * self.fit.seconds + self.predictions.seconds

    @property
    def bytes(self) -> int:
        """Of features, probes and the run with its scores."""
        features = self.fit.features.bytes if self.fit.features else 0
        return features + self.folds * self.fit.bytes + self.predictions.bytes

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        parts = {"fit": self.fit.to_json(), "predictions": self.predictions.to_json()}
        return {**parts, "seconds": round(self.seconds, 2), "bytes": self.bytes}


def estimate_crossfit(
    source: Labels,
    dataset: Dataset,
    *,
    backbone: BackboneConfig,
    config: FitConfig,
    folds: int = 5,
    cache: Path = Path("cache"),
    device: str = "auto",
    options: RunOptions = RunOptions(),  # noqa: B008
) -> CrossfitEstimate:
    """Time a fit on a few images, and predictions of a few by a head of its kind.

    Predictions by `knn` take longer the larger its bank is, which that of a few images is not: they are estimated as
    too fast.

    Raises
    ------
    LabelgenError
        Where the cross-fit would be refused: as `estimate_fit`, or for the number of folds.
    """
    refuse_networks(config)
    labelled = sorted(set(source.ids) & set(dataset.ids))
    ids = tuple(sorted(ids_to_cache(labelled, dataset.ids)))
    assign_folds(dict.fromkeys(ids, frozenset()), folds=folds)
    asked: dict[str, Any] = {"backbone": backbone, "config": config, "device": device}
    cost = estimate_fit(source, dataset, **asked, cache=cache, share=(folds - 1) / folds)
    short = config if config.head_choice.name in CLOSED_FORM else replace(config, steps=1)
    tried, known = spread(ids, IMAGES), spread(labelled, IMAGES)
    frozen = load_backbone(backbone, device=device)
    with tempfile.TemporaryDirectory(prefix="segprobe-estimate-") as name:
        place = Path(name)
        features = build_cache(
            dataset, sorted({*tried, *known}), frozen, place / "features", views=views_of(config), batch_size=1
        )
        asked |= {"config": replace(short, rounds=0, correct=FitConfig.correct), "frozen": frozen}
        made = fit(source, dataset, **asked, out=place / "probe", features=features, only=known)
        make = MakeHeldOut((str(made.out),), dict.fromkeys(tried, 0), features, device)
        job = held_out_job(source, make)
        kept = replace(options, save_scores=True, overwrite=False)
        found = estimate_run(Part(dataset, ids), job, ids, kept, count=len(tried))
        more = max(1.0, _classes_of(source) / len(open_probe(made.out).class_ids))
    predictions = replace(found, seconds=more * found.seconds, bytes=round(more * found.bytes))
    return CrossfitEstimate(folds, cost, predictions)


def _classes_of(source: Labels) -> int:
    """How many classes all labels show, each of which has a plane of scores; a few images may show fewer."""
    header: Mapping[str, Any] = getattr(source, "header", {})
    return len(header.get("counts", {}).get("classes", ())) or source.vocabulary.num_classes
