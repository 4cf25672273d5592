"""How good a probe is: labelgen's confusion matrix over predictions at the original size."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from labelgen.data import Dataset
from labelgen.errors import ConfigError
from labelgen.masks import LabelMap, harden, label_dtype
from labelgen.quality.confusion import Scores, confusion_matrix, scores_from_confusion
from labelgen.run import Progress, rng_for
from labelgen.vocab import Vocabulary
from segprobe.batches import FeatureSource
from segprobe.compare.intervals import miou_of
from segprobe.predict import Predictor, refined_generator
from segprobe.probe_file import Probe
from segprobe.sampling import upsample_logits

__all__ = ["Evaluation", "cached_predictions", "evaluate_probe", "image_predictions", "interval", "score_predictions"]

AT_ONCE = 16  # images decoded and predicted together
PER_CLASS = ("iou", "precision", "recall", "fp_rate", "fn_rate", "truth_pixels", "label_pixels")  # of `Scores`


@dataclass(frozen=True)
class Evaluation:
    """Scores over a data set, and what is needed to say how certain they are.

    Parameters
    ----------
    vocabulary
        The classes.
    matrix
        Confusion matrix, rows truth, columns prediction and unlabelled.
    per_image
        For each image and class: correct, true and predicted pixels.
    """

    vocabulary: Vocabulary
    matrix: Int64[np.ndarray, "C C+1"]
    per_image: Int64[np.ndarray, "N counts C"]

    @property
    def scores(self) -> Scores:
        """The scores of labelgen's quality report."""
        return scores_from_confusion(self.matrix)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that are in truth or prediction."""
        return self.scores.miou

    def to_json(self) -> dict[str, Any]:
        """What `segprobe eval --json` prints; a class that is nowhere has null for its IoU."""
        scores = self.scores
        return {
            "miou": _number(np.float64(scores.miou)),
            "num_classes": scores.num_classes,
            "num_images": len(self.per_image),
            "pixel_accuracy": _number(np.float64(scores.pixel_accuracy)),
            "per_class": [
                {"id": class_id, "name": name, **{key: _number(getattr(scores, key)[class_id]) for key in PER_CLASS}}
                for class_id, name in enumerate(self.vocabulary.classes)
            ],
        }


def _number(value: Any) -> float | int | None:
    return value.item() if np.isfinite(value) else None


def evaluate_probe(predictor: Predictor, dataset: Dataset, *, progress: Progress | None = None) -> Evaluation:
    """Predict every image of a data set and compare with its truth at the original size."""
    return score_predictions(
        image_predictions(predictor, dataset), dataset.vocabulary, total=len(dataset.ids), progress=progress
    )


def image_predictions(
    predictor: Predictor, dataset: Dataset, ids: Sequence[str] | None = None
) -> Iterator[tuple[LabelMap, LabelMap]]:
    """Truth and prediction of each image, or of those of `ids`."""
    chosen = dataset.ids if ids is None else ids
    if predictor.config.refine:
        yield from _refined_predictions(predictor, dataset, chosen)
        return
    for first in range(0, len(chosen), AT_ONCE):
        part = chosen[first : first + AT_ONCE]
        samples = [dataset.load(sample_id, {"image", "truth"}) for sample_id in part]
        predictions = predictor.labels([sample.need_image() for sample in samples])
        for sample, prediction in zip(samples, predictions):
            yield sample.need_truth(), prediction


def _refined_predictions(
    predictor: Predictor, dataset: Dataset, ids: Sequence[str]
) -> Iterator[tuple[LabelMap, LabelMap]]:
    generate = refined_generator(predictor, dataset)
    for sample_id in ids:
        sample = dataset.load(sample_id, {"image", "truth"})
        mask = generate(sample.only(frozenset()), rng_for(0, sample_id))
        yield sample.need_truth(), harden(mask, ignore=dataset.vocabulary.ignore)


def cached_predictions(
    probe: Probe, features: FeatureSource, dataset: Dataset, ids: Sequence[str], *, view: int = 0
) -> Iterator[tuple[LabelMap, LabelMap]]:
    """Truth and prediction of each image from features at hand, in one of their views."""
    import torch

    class_ids = np.asarray(probe.class_ids, label_dtype(probe.vocabulary.ignore))
    for sample_id in ids:
        found = features.features(sample_id, view)
        with torch.inference_mode():
            logits = upsample_logits(probe.head(found.tokens.float()), found.geometry)
        yield dataset.truth(sample_id), class_ids[logits.argmax(-1).numpy()]


def score_predictions(
    pairs: Iterable[tuple[LabelMap, LabelMap]],
    vocabulary: Vocabulary,
    *,
    total: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Sum up the confusion of pairs of truth and prediction.

    Examples
    --------
    >>> truth, prediction = np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8)
    >>> evaluation = score_predictions([(truth, prediction)], Vocabulary("two", ("a", "b")))
    >>> evaluation.miou, evaluation.scores.num_classes
    (0.25, 2)
    """
    classes = vocabulary.num_classes
    matrix = np.zeros((classes, classes + 1), np.int64)
    per_image = []
    for number, (truth, prediction) in enumerate(pairs):
        counts = confusion_matrix(
            truth, prediction, num_classes=classes, truth_ignore=vocabulary.ignore, label_ignore=vocabulary.ignore
        )
        matrix += counts
        per_image.append([np.diagonal(counts), counts.sum(axis=1), counts[:, :-1].sum(axis=0)])
        if progress is not None:
            progress(number + 1, total or number + 1, "")
    return Evaluation(vocabulary, matrix, np.array(per_image, np.int64).reshape(-1, 3, classes))


def interval(
    evaluation: Evaluation, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of the mIoU by drawing images anew with replacement.

    Raises
    ------
    ConfigError
        When there is no image to draw.
    """
    counts = evaluation.per_image
    if not len(counts):
        raise ConfigError("an interval needs at least one image, got none")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    sums = np.tensordot(drawn, counts, axes=(1, 0))  # (resamples, 3, C)
    low, high = np.nanquantile(miou_of(sums), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
