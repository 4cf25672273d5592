"""How sure a run is of its labels, as weights in the loss.

The confidence of a label is the score of its class over the sum of the scores of the pixel, as they lie in the run's
`scores/`: 1 for strokes and clicks, for a CAM or CLIP run what is left of it when other classes, background among them,
claim the pixel, too. It is not a calibrated probability; the exponent says how much is made of it.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import LabelMap, SoftMask

__all__ = ["LabelReader", "ReadConfident", "ScoreReader", "confidence_of", "confident_reader"]

ReadConfident = Callable[[str], tuple[LabelMap, Float32[np.ndarray, "H W"] | None]]
"""Label map and weights of one image."""


@runtime_checkable
class LabelReader(Protocol):
    """Where label maps come from."""

    @property
    def name(self) -> str:
        """What the labels are called."""
        ...

    def labels(self, sample_id: str) -> LabelMap:
        """The label map of one image."""
        ...


@runtime_checkable
class ScoreReader(LabelReader, Protocol):
    """Label maps that may have scores: a run folder."""

    def scores(self, sample_id: str) -> SoftMask | None:
        """The scores of one image, or None when none were kept."""
        ...


def confident_reader(source: LabelReader, *, gamma: float, least: float, ignore: int) -> ReadConfident:
    """How to read the labels of a run together with their weights.

    Parameters
    ----------
    source
        Run folder; anything that has labels when neither setting asks for confidence.
    gamma
        The weight of a pixel is `confidence ** gamma`; 0 for no weights.
    least
        Labels of less confidence are taken for unlabelled.

    Raises
    ------
    ConfigError
        When confidence is asked for and the labels come without scores.
    """
    if not gamma and not least:
        return lambda sample_id: (source.labels(sample_id), None)
    if not isinstance(source, ScoreReader):
        raise _no_scores(source)

    def read(sample_id: str) -> tuple[LabelMap, Float32[np.ndarray, "H W"] | None]:
        labels, mask = source.labels(sample_id), source.scores(sample_id)
        if mask is None:
            raise _no_scores(source)
        confidence = confidence_of(labels, mask, ignore=ignore, where=f"{sample_id} of {source.name}")
        kept = np.where(confidence >= least, labels, labels.dtype.type(ignore))
        return kept, confidence**gamma if gamma else None

    return read


def _no_scores(source: LabelReader) -> ConfigError:
    return ConfigError(
        f"--confidence and --min-confidence need the scores of a run, got none in {source.name}",
        hint="make the labels again with --save-scores; plain masks and truth have no scores",
    )


def confidence_of(labels: LabelMap, mask: SoftMask, *, ignore: int = 255, where: str) -> Float32[np.ndarray, "H W"]:
    """Score of each label over the sum of the scores at its pixel, in [0, 1].

    Returns
    -------
    Array
        0 at unlabelled pixels, and where all scores are 0.

    Raises
    ------
    ShapeError
        When labels and scores differ in size.
    DataError
        When a label is of a class that has no scores.

    Examples
    --------
    >>> mask = SoftMask(np.array([[[0.6, 0.1]], [[0.2, 0.0]]], np.float32), (0, 4))
    >>> confidence_of(np.array([[0, 255]], np.uint8), mask, where="a").round(2).tolist()
    [[0.75, 0.0]]
    """
    if labels.shape != mask.size:
        raise ShapeError(f"scores must have the size {labels.shape} of the labels, got {mask.size} in {where}")
    chosen, explained = np.zeros(mask.size, np.float32), labels == ignore
    for plane, class_id in zip(mask.scores, mask.class_ids, strict=True):
        here = labels == class_id
        np.copyto(chosen, plane, where=here)
        explained |= here
    if not explained.all():
        missing = sorted(int(class_id) for class_id in np.unique(labels[~explained]))
        raise DataError(
            f"every label must be of a class that has scores, got class {missing[0]} without in {where}",
            hint="do its labels and its scores belong together? `labelgen verify` looks for damage",
        )
    total = mask.scores.sum(axis=0)
    return np.divide(chosen, total, out=np.zeros_like(chosen), where=total > 0)
