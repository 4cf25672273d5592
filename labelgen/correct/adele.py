"""ADELE: tell, class by class, when a network begins to learn mistakes of its labels, and correct them from then on.

While a network is trained on noisy labels, the IoU of its predictions with those labels first rises fast, as it learns
what labels have in common, and then slowly, as it memorises their mistakes. A saturating curve is fitted to that IoU;
where its slope has fallen by nine tenths, labels of the class are replaced by confident predictions.
"""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import IGNORE, LabelMap

__all__ = ["IouCurve", "IouFitTrigger", "fit_iou_curve", "relabel", "trigger_epoch"]

RATIO = 0.9  # loss of slope at which labels are corrected; paper, section 3.2
CONFIDENCE = 0.8  # of predictions that replace labels; paper, section 3.2
LEAST_POINTS = 4  # one more than the curve has parameters
FIRST_STD, LAST_STD = 1.0, 0.1  # of the points of a curve: later ones weigh more
LEAST_IOU = 1e-3  # height of a curve below which a class was not learned at all
LEAST_B, LEAST_C = 1e-2, 1e-6
LARGEST_SHRINKAGE = 0.5  # of the foreground of an image...
LARGEST_BACKGROUND = 0.95  # ...that leaves more background than this: then its labels stay


@dataclass(frozen=True)
class IouCurve:
    """`f(t) = a (1 - exp(-t^b / c))`, t in epochs.

    Parameters
    ----------
    a
        Where it ends; in (0, 1].
    b
        In (0, 1]; below 1 it rises steeply first.
    c
        Above 0; larger is slower.
    """

    a: float
    b: float
    c: float

    def value(self, epochs: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
        """The IoU at each time."""
        return self.a * -np.expm1(-(epochs**self.b) / self.c)

    def lost_slope(self, epoch: float) -> float:
        """By how much the slope has changed since epoch 1, as a share of what it was: `|f'(t) - f'(1)| / |f'(1)|`.

        Examples
        --------
        >>> curve = IouCurve(0.6, 1.0, 2.0)
        >>> curve.lost_slope(1), round(curve.lost_slope(3), 4) == round(1 - math.exp(-1), 4)
        (0.0, True)
        """
        # f'(t) / f'(1), in which a cancels and nothing underflows to 0 / 0
        return abs(epoch ** (self.b - 1) * math.exp(-(epoch**self.b - 1) / self.c) - 1)


def fit_iou_curve(
    epochs: Sequence[float] | Float64[np.ndarray, " N"], ious: Sequence[float] | Float64[np.ndarray, " M"]
) -> IouCurve | None:
    """Fit a curve to IoUs in the order in which they were measured, later ones weighing more.

    Parameters
    ----------
    epochs
        When each was measured, >= 0; one epoch is one pass over the images.
    ious
        In [0, 1].

    Returns
    -------
    IouCurve or None
        None with fewer than four points, where nothing is learned (all IoUs are about 0), or where no curve can be
        fitted: such a class is not corrected.

    Raises
    ------
    ShapeError
        When there are not as many times as IoUs.
    DataError
        When a value is no number or out of range.

    References
    ----------
    .. [1] Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations", CVPR 2022,
       arXiv 2110.03740, section 3.2.

    Examples
    --------
    >>> epochs = np.arange(1, 21) / 4
    >>> curve = fit_iou_curve(epochs, IouCurve(0.7, 0.8, 1.5).value(epochs))
    >>> [round(float(value), 3) for value in (curve.a, curve.b, curve.c)]
    [0.7, 0.8, 1.5]
    """
    times, values = np.asarray(epochs, np.float64), np.asarray(ious, np.float64)
    if times.shape != values.shape or times.ndim != 1:
        raise ShapeError(f"every IoU needs the time of its measurement, got {times.shape} and {values.shape}")
    if not (np.isfinite(times).all() and np.isfinite(values).all() and (times >= 0).all()):
        raise DataError("epochs and IoUs must be finite numbers, and epochs >= 0")
    if ((values < 0) | (values > 1)).any():
        raise DataError(f"IoUs must lie in [0, 1], got {values.min():g} to {values.max():g}")
    if len(values) < LEAST_POINTS or values.max() < LEAST_IOU:
        return None
    from scipy.optimize import curve_fit

    def curve(t: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return IouCurve(a, b, c).value(t)

    try:
        with np.errstate(all="ignore"):
            (a, b, c), _ = curve_fit(
                curve,
                times,
                values,
                p0=(0.5, 0.9, 1.0),
                sigma=np.geomspace(FIRST_STD, LAST_STD, len(values)),
                bounds=((LEAST_IOU, LEAST_B, LEAST_C), (1, 1, np.inf)),
            )
    except (RuntimeError, ValueError):  # it does not converge
        return None
    return IouCurve(float(a), float(b), float(c)) if np.isfinite([a, b, c]).all() else None


def trigger_epoch(curve: IouCurve, *, ratio: float = RATIO, last: int = 1000) -> int | None:
    """The first whole epoch at which the slope has changed by more than `ratio` since epoch 1.

    Parameters
    ----------
    ratio
        In (0, 1).
    last
        Epochs beyond it are not looked at.

    Returns
    -------
    int or None
        At least 2; None where it is not reached by `last`.

    Raises
    ------
    ConfigError
        When the ratio is out of range.

    Examples
    --------
    >>> [trigger_epoch(IouCurve(0.6, 1.0, c)) for c in (0.5, 1, 2, 4)]
    [3, 4, 6, 11]
    """
    if not 0 < ratio < 1:
        raise ConfigError(f"ratio must lie in (0, 1), got {ratio}", hint=f"the paper has {RATIO}")
    return next((epoch for epoch in range(2, last + 1) if curve.lost_slope(epoch) > ratio), None)


@dataclass
class IouFitTrigger:
    """Watches the IoU of each class during training and says which classes are to be corrected.

    Measure against the *initial* labels, not against corrected ones, several times an epoch. A class that was triggered
    once stays so.

    Parameters
    ----------
    num_classes
        Classes of the vocabulary.
    ratio
        As for `trigger_epoch`.

    Examples
    --------
    >>> trigger = IouFitTrigger(2)
    >>> for step in range(1, 41):
    ...     trigger.log(step / 10, [1 - math.exp(-step / 5), math.nan])
    >>> trigger.update(2), trigger.update(4)
    (frozenset(), frozenset({0}))
    """

    num_classes: int
    ratio: float = RATIO
    points: dict[int, list[tuple[float, float]]] = field(default_factory=dict, repr=False)
    triggered: dict[int, int] = field(default_factory=dict)
    """Class to the epoch after which it was triggered."""

    def __post_init__(self) -> None:
        trigger_epoch(IouCurve(1, 1, 1), ratio=self.ratio)  # refuses what it refuses

    def log(self, epoch: float, ious: Sequence[float] | Float64[np.ndarray, " C"]) -> None:
        """Note the IoU of every class after so many epochs (a fraction within one); NaN for classes not seen.

        Raises
        ------
        ShapeError
            When there is not one IoU a class.
        """
        if len(ious) != self.num_classes:
            raise ShapeError(f"there must be one IoU for each of the {self.num_classes} classes, got {len(ious)}")
        for class_id, iou in enumerate(ious):
            if not math.isnan(iou):
                self.points.setdefault(class_id, []).append((float(epoch), float(iou)))

    def update(self, epoch: int) -> frozenset[int]:
        """Fit the classes that are not triggered yet, at the end of an epoch; all that are triggered by now."""
        for class_id, points in self.points.items():
            if class_id in self.triggered:
                continue
            curve = fit_iou_curve(*zip(*points, strict=True))
            if curve is not None and (first := trigger_epoch(curve, ratio=self.ratio, last=epoch)) is not None:
                assert first <= epoch
                self.triggered[class_id] = epoch
        return frozenset(self.triggered)

    def to_json(self) -> dict[str, Any]:
        """All that is needed to go on, as plain JSON values."""
        return {
            "num_classes": self.num_classes,
            "ratio": self.ratio,
            "points": {str(class_id): [list(point) for point in points] for class_id, points in self.points.items()},
            "triggered": {str(class_id): epoch for class_id, epoch in self.triggered.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "IouFitTrigger":
        """What `to_json` has written."""
        return cls(
            data["num_classes"],
            data["ratio"],
            {int(key): [(t, iou) for t, iou in points] for key, points in data["points"].items()},
            {int(key): epoch for key, epoch in data["triggered"].items()},
        )


def relabel(
    labels: LabelMap,
    probabilities: Float32[np.ndarray, "C rows columns"],
    triggered: AbstractSet[int],
    *,
    background: int | None,
    confidence: float = CONFIDENCE,
    ignore: int = IGNORE,
) -> LabelMap:
    """Replace initial labels by confident predictions of the classes that are to be corrected, and of background.

    Only classes that the initial labels of the image hold are taken, background included, so no class is introduced.
    Unlabelled pixels may get a label. Where foreground would shrink by more than half and leave more than 95 % of the
    image to background, all labels stay as they are. Begin from the initial labels each time, not from corrected ones.

    Parameters
    ----------
    labels
        The initial labels.
    probabilities
        By class id; of several scales, averaged.
    triggered
        Classes to be corrected.
    background
        Id that is always taken; None for vocabularies without.
    confidence
        Predictions must exceed it.

    Raises
    ------
    ShapeError
        When labels and probabilities differ in size.
    ConfigError
        When the confidence is out of range.

    References
    ----------
    .. [1] Liu et al., CVPR 2022, arXiv 2110.03740, section 3.2; the guard is in their code alone.

    Examples
    --------
    >>> labels = np.array([[1, 1, 1, 0]], np.uint8)
    >>> probabilities = np.array([[[0.9, 0.7, 0.1, 0.1]], [[0.1, 0.3, 0.9, 0.9]]], np.float32)
    >>> relabel(labels, probabilities, frozenset({1}), background=0)
    array([[0, 1, 1, 1]], dtype=uint8)
    >>> relabel(labels, probabilities, frozenset(), background=0)
    array([[0, 1, 1, 0]], dtype=uint8)
    """
    if probabilities.shape[1:] != labels.shape:
        raise ShapeError(f"probabilities must have the size {labels.shape} of labels, got {probabilities.shape[1:]}")
    if not 0 <= confidence < 1:
        raise ConfigError(f"confidence must lie in [0, 1), got {confidence}", hint=f"the paper has {CONFIDENCE}")
    present = {int(class_id) for class_id in np.unique(labels)} - {ignore}
    taken = sorted(present & (set(triggered) | ({background} if background is not None else set())))
    best, winner = probabilities.max(axis=0), probabilities.argmax(axis=0)
    replaced = (best > confidence) & np.isin(winner, taken)
    corrected = np.where(replaced, winner, labels).astype(labels.dtype)
    return labels.copy() if _is_wiped_out(labels, corrected, background, ignore) else corrected


def _is_wiped_out(labels: np.ndarray, corrected: np.ndarray, background: int | None, ignore: int) -> bool:
    """Whether a correction leaves almost nothing but background."""
    if background is None:
        return False
    before, after = (int(((m != background) & (m != ignore)).sum()) for m in (labels, corrected))
    share = (corrected == background).mean() if corrected.size else 0.0
    return after < (1 - LARGEST_SHRINKAGE) * before and bool(share > LARGEST_BACKGROUND)
