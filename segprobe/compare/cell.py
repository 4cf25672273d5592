"""One cell of the comparison: a fit, its scores on both splits, and what is kept of them."""

import hashlib
import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from labelgen.data import Dataset
from labelgen.errors import ConfigError, RunFolderError
from labelgen.masks import write_atomic
from labelgen.nets.backbones import Backbone, load_backbone
from labelgen.store import open_labels
from labelgen.store.header import differences
from labelgen.store.layout import HEADER
from labelgen.untrusted import parse_json, read_bounded, read_npz_arrays
from labelgen.untrusted.limits import LARGEST_ARRAYS
from segprobe.compare.plan import TRUTH, Cell
from segprobe.evaluate import cached_predictions, image_predictions, score_predictions
from segprobe.features import FeatureCache, View
from segprobe.fit import cached_features, fit, views_of
from segprobe.labels import Labels, TruthSource
from segprobe.predict import load_predictor
from segprobe.probe_file import open_probe

__all__ = ["CellResult", "LabelResult", "Workshop"]

log = logging.getLogger(__name__)

RESULT, COUNTS = "result.json", "counts.npz"
PLAIN = View()
"""How images are looked at for scores, whatever views a probe was trained on."""
Array = Int64[np.ndarray, "N counts C"]


@dataclass(frozen=True)
class CellResult:
    """What a cell gave.

    Parameters
    ----------
    cell
        What was asked for.
    val, train
        Correct, true and predicted pixels by image and class: on the val split, and on the images of the labels.
    seconds
        Of fit and evaluation; features that were cached before cost nothing.
    """

    cell: Cell
    val: Array
    train: Array
    seconds: float


@dataclass(frozen=True)
class LabelResult:
    """How good the labels of one run are, on the images that they were made for.

    Parameters
    ----------
    counts
        Correct, true and labelled pixels by image and class; an unlabelled pixel is a miss.
    labelled
        The same over labelled pixels only.
    coverage
        Labelled share of the pixels with truth.
    facts
        Method, settings and supervision from run.json.
    """

    counts: Array
    labelled: Array
    coverage: float
    facts: Mapping[str, Any]


class Workshop:
    """Fills cells, and keeps what several of them share: data, backbones, features, the scores of labels.

    Parameters
    ----------
    out
        Folder of the comparison: `cells/<cell>/`, `labels/<run>/`, `cache/`.
    train, val
        The images of the labels, and those that the scores are for.
    device
        Where networks run.
    cache
        Folder of features.
    train_images
        Labelled images, spread evenly, on which probes and their labels are compared; 0 for all.
    """

    def __init__(
        self,
        out: Path,
        train: Dataset,
        val: Dataset,
        *,
        device: str = "auto",
        cache: Path | None = None,
        train_images: int = 0,
    ) -> None:
        self.out = out
        self.train = train
        self.val = val
        self.device = device
        self.cache = cache or out / "cache"
        self.train_images = train_images
        self._backbones: dict[str, Backbone] = {}
        self._caches: dict[str, FeatureCache] = {}
        self._labels: dict[str, LabelResult] = {}

    def result(self, cell: Cell, *, anew: bool = False) -> CellResult | None:
        """What is there of a cell.

        Parameters
        ----------
        anew
            A cell that was made with other settings, or is damaged, will be made again: nothing is there of it.

        Raises
        ------
        RunFolderError
            When it was made with other settings or other labels, or is damaged.
        """
        try:
            return self._kept(cell)
        except RunFolderError:
            if anew:
                return None
            raise

    def _kept(self, cell: Cell) -> CellResult | None:
        folder = self.out / "cells" / cell.folder
        path = folder / RESULT
        if not path.is_file():
            return None
        try:
            there = parse_json(read_bounded(path))
            settings, seconds = there["settings"], float(there["seconds"])
            counts = read_npz_arrays(read_bounded(folder / COUNTS, LARGEST_ARRAYS))
            found = CellResult(cell, counts["val"], counts["train"], seconds)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"a cell of the comparison cannot be read: {folder} ({error!r})",
                hint="--overwrite makes such cells anew",
            ) from error
        now = json.loads(json.dumps(self._settings(cell)))
        if settings != now:
            raise RunFolderError(
                f"{folder} was made with other settings: {'; '.join(differences(settings, now)[:6])}",
                hint="--overwrite makes such cells anew, another --out keeps both",
            )
        return found

    def fill(self, cell: Cell, *, overwrite: bool = False) -> CellResult:
        """Train and score one cell; an interrupted fit goes on where it stopped."""
        folder = self.out / "cells" / cell.folder
        start = time.perf_counter()
        source = self.source(cell)
        frozen = None if cell.config.trains_network else self._backbone(cell)
        fit(
            source,
            self.train,
            backbone=cell.backbone.config,
            config=cell.config,
            out=folder / "probe",
            cache=self.cache,
            device=self.device,
            overwrite=overwrite,
            frozen=frozen,
            features=None if frozen is None else self._features(frozen, self.train, views_of(cell.config)),
        )
        ids = self._compared_ids(source)
        val = self._scores(cell, folder / "probe", frozen, self.val, self.val.ids)
        train = self._scores(cell, folder / "probe", frozen, self.train, ids)
        result = CellResult(cell, val, train, time.perf_counter() - start)
        stream = io.BytesIO()
        np.savez_compressed(stream, val=val, train=train)
        write_atomic(folder / COUNTS, stream.getvalue())
        settings = {"settings": self._settings(cell), "seconds": round(result.seconds, 3)}
        write_atomic(folder / RESULT, (json.dumps(settings, indent=1) + "\n").encode())
        return result

    def labels(self, cell: Cell) -> LabelResult:
        """How good the labels of a cell are."""
        if cell.source not in self._labels:
            self._labels[cell.source] = self._score_labels(cell)
        return self._labels[cell.source]

    def _compared_ids(self, source: Labels) -> list[str]:
        labelled = set(source.ids)
        ids = [sample_id for sample_id in self.train.ids if sample_id in labelled]
        return ids[:: -(-len(ids) // self.train_images)] if self.train_images else ids

    def source(self, cell: Cell) -> Labels:
        """The labels of a cell."""
        if cell.source == TRUTH:
            return TruthSource(self.train)
        return open_labels(Path(cell.source), vocabulary=self.train.vocabulary)

    def _backbone(self, cell: Cell) -> Backbone:
        key = json.dumps(cell.backbone.config.to_json(), sort_keys=True)
        if key not in self._backbones:
            self._backbones[key] = load_backbone(cell.backbone.config, device=self.device)
        return self._backbones[key]

    def _features(self, frozen: Backbone, data: Dataset, views: tuple[View, ...]) -> FeatureCache:
        key = json.dumps([frozen.fingerprint(), [view.to_json() for view in views], data.spec.to_json()])
        if key not in self._caches:
            self._caches[key] = cached_features(data, data.ids, frozen, self.cache, views)
        return self._caches[key]

    def _scores(self, cell: Cell, folder: Path, frozen: Backbone | None, data: Dataset, ids: Sequence[str]) -> Array:
        if frozen is not None:
            trained = views_of(cell.config)
            views = trained if data is self.train and PLAIN in trained else (PLAIN,)
            features = self._features(frozen, data, views)
            pairs = cached_predictions(open_probe(folder), features, data, ids, view=views.index(PLAIN))
        else:
            pairs = image_predictions(load_predictor(folder, device=self.device), data, ids)
        return score_predictions(pairs, data.vocabulary).per_image

    def _score_labels(self, cell: Cell) -> LabelResult:
        from labelgen.quality.confusion import confusion_matrix

        source, vocabulary = self.source(cell), self.train.vocabulary
        everywhere, labelled, covered, total = [], [], 0, 0
        for sample_id in self._compared_ids(source):
            counts = confusion_matrix(
                self.train.truth(sample_id),
                source.labels(sample_id),
                num_classes=vocabulary.num_classes,
                truth_ignore=vocabulary.ignore,
                label_ignore=vocabulary.ignore,
            )
            correct, seen = np.diagonal(counts), counts[:, :-1]
            everywhere.append([correct, counts.sum(1), seen.sum(0)])
            labelled.append([correct, seen.sum(1), seen.sum(0)])
            covered, total = covered + int(seen.sum()), total + int(counts.sum())
        facts = {} if cell.source == TRUTH else _run_facts(Path(cell.source))
        return LabelResult(np.array(everywhere), np.array(labelled), covered / max(total, 1), facts)

    def _settings(self, cell: Cell) -> dict[str, Any]:
        backbone = {k: v for k, v in cell.backbone.config.to_json().items() if k != "weights"}
        weights = cell.backbone.config.weights
        return {
            "config": cell.config.decisive(),
            "backbone": backbone | {"weights": _digest(Path(weights)) if weights else ""},
            "labels": _labels_digest(cell.source),
            "train": self.train.spec.to_json() | {"compared": self.train_images},
            "val": self.val.spec.to_json(),
        }


def _labels_digest(source: str) -> str:
    """What changes when labels change: the manifest of a run with its hashes, else names and times of files."""
    folder = Path(source)
    if source == TRUTH:
        return TRUTH
    manifest = folder / "manifest.jsonl"
    if manifest.is_file():
        return _digest(manifest)
    if not folder.is_dir():
        raise ConfigError(f"no such run or folder: {source}", hint="labelgen scribble --out RUN makes one")
    files = sorted((str(p.relative_to(folder)), p.stat().st_mtime_ns) for p in folder.rglob("*.png"))
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot be read: {path} ({error})", hint="check the path") from error


def _run_facts(folder: Path) -> dict[str, Any]:
    path = folder / HEADER
    if not path.is_file():
        return {}
    header = parse_json(read_bounded(path))
    return {key: header.get(key) for key in ("method", "config", "supervision", "seed")}
