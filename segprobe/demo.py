"""The whole path on the built-in scenes: cheap labels, how good they are, and what a frozen probe makes of them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data import Dataset
from labelgen.data.open import open_data
from labelgen.methods import METHODS
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import Backbone, load_backbone
from labelgen.quality.confusion import Scores, confusion_matrix, scores_from_confusion
from labelgen.run import RunOptions, method_job, run_job
from labelgen.store import RunFolder
from segprobe.config import FitConfig
from segprobe.evaluate import cached_predictions, score_predictions
from segprobe.features import FeatureCache, View
from segprobe.fit import cached_features, fit, views_of
from segprobe.kept import KeptDataset
from segprobe.labels import Labels, TruthSource
from segprobe.probe_file import open_probe

__all__ = ["SUPERVISIONS", "DemoRow", "Supervision", "run_demo"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Supervision:
    """One row of the table: a labelling method and its settings, or the truth when there is no method."""

    name: str
    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of its run and of its probe."""
        return self.name.replace(",", "").replace(" ", "-")


SUPERVISIONS = (
    Supervision("truth"),
    Supervision("scribble", "scribble"),
    Supervision("scribble, shrink 0.5", "scribble", {"shrink": 0.5}),
    Supervision("point", "point"),
    Supervision(
        "point, objects only",
        "point",
        {"per": "instance", "where": "inner", "sigma": 2.0, "background": 0},
    ),
    Supervision("corrupt, outlines", "corrupt", {"kind": "polygon=0.6,mixed=0.5"}),
    Supervision("corrupt, classes", "corrupt", {"kind": "classes=0.3,drop=0.2"}),
)
"""Points on objects only are what people give when they are asked for objects: off centre, and no background."""


@dataclass(frozen=True)
class DemoRow:
    """What one kind of supervision gave, as means over the seeds.

    Parameters
    ----------
    supervision
        Name of the row.
    coverage
        Labelled share of the training pixels.
    label_miou
        mIoU of the labels themselves, over the pixels they label.
    probe_miou
        mIoU of the probe on the val split, all pixels.
    retention
        `probe_miou` over that of the probe trained on full truth.
    seconds
        For labels, fit and evaluation of one seed; features are shared and not counted.
    """

    supervision: str
    coverage: float
    label_miou: float
    probe_miou: float
    retention: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


def run_demo(
    out: Path,
    *,
    seeds: Sequence[int] = (0,),
    supervisions: Sequence[Supervision] = SUPERVISIONS,
    backbone: BackboneConfig | None = None,
    config: FitConfig | None = None,
    train_limit: int = 0,
    val_limit: int = 0,
    say: Say = lambda sentence: None,
) -> list[DemoRow]:
    """Label, measure, fit and evaluate with each kind of supervision; the truth comes first.

    Parameters
    ----------
    out
        Work folder: runs, probes and features are kept there, and what is there already is not made again.
    seeds
        Each makes its own labels and its own fit.
    train_limit, val_limit
        Only the first so many images; 0 for all.
    say
        Gets a sentence for each thing that is done.
    """
    config = config or FitConfig()
    say("drawing scenes")
    train = KeptDataset(open_data("demo", split="train", limit=train_limit))
    val = KeptDataset(open_data("demo", split="val", limit=val_limit))
    frozen = load_backbone(backbone or BackboneConfig(), device="cpu")
    say(f"features of {len(train.ids)} + {len(val.ids)} scenes by {frozen.spec.name}")
    cached_features(train, train.ids, frozen, out / "cache", views_of(config))
    features = cached_features(val, val.ids, frozen, out / "cache", (View(),))
    rows: list[DemoRow] = []
    for supervision in supervisions:
        found = [
            _one(supervision, replace(config, seed=seed), out, train, val, features, frozen, say=say) for seed in seeds
        ]
        coverage, label_miou, probe_miou, seconds = (float(np.mean(values)) for values in zip(*found))
        full = rows[0].probe_miou if rows else probe_miou
        rows.append(DemoRow(supervision.name, coverage, label_miou, probe_miou, probe_miou / full, seconds))
    return rows


def _one(
    supervision: Supervision,
    config: FitConfig,
    out: Path,
    train: Dataset,
    val: Dataset,
    features: FeatureCache,
    frozen: Backbone,
    *,
    say: Say,
) -> tuple[float, float, float, float]:
    """Coverage, mIoU of the labels, mIoU of the probe, and seconds of one supervision with one seed."""
    start = time.perf_counter()
    name = f"{supervision.folder}-{config.seed}" if config.seed else supervision.folder
    say(f"{name}: labels")
    source = _labels(supervision, train, out / "runs" / name, seed=config.seed)
    quality = label_scores(source, train)
    say(f"{name}: probe")
    probe_folder = out / "probes" / name
    fit(
        source,
        train,
        backbone=frozen.config,
        config=config,
        out=probe_folder,
        cache=out / "cache",
        device="cpu",
        frozen=frozen,
    )
    pairs = cached_predictions(open_probe(probe_folder), features, val, val.ids)
    miou = score_predictions(pairs, val.vocabulary).miou
    return quality.overall_coverage, quality.miou, miou, time.perf_counter() - start


def _labels(supervision: Supervision, train: Dataset, out: Path, *, seed: int) -> Labels:
    if not supervision.method:
        return TruthSource(train)
    config = METHODS[supervision.method].config(**supervision.settings)
    run_job(train, method_job(supervision.method, config, train.vocabulary), out, RunOptions(seed=seed, strict=True))
    return RunFolder.open(out)


def label_scores(source: Labels, dataset: Dataset) -> Scores:
    """Scores of labels against the truth, over the pixels that are labelled."""
    vocabulary = dataset.vocabulary
    matrix = sum(_confusions(source, dataset), np.zeros((vocabulary.num_classes, vocabulary.num_classes + 1), np.int64))
    return scores_from_confusion(matrix, unlabelled="exclude")


def _confusions(source: Labels, dataset: Dataset) -> Iterator[np.ndarray]:
    for sample_id in source.ids:
        yield confusion_matrix(
            dataset.truth(sample_id), source.labels(sample_id), num_classes=dataset.vocabulary.num_classes
        )
