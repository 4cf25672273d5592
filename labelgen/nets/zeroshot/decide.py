"""From probabilities of classes to a mask: what is removed, what is background, what stays unlabelled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

from labelgen.errors import ConfigError
from labelgen.geometry.components import label_components
from labelgen.masks import IGNORE, WIDE_IGNORE, SoftMask
from labelgen.prompts import UNLABELLED

__all__ = ["Rules", "decide"]

NOT_SALIENT = 0.5  # saliency in [0, 1] below which a pixel is taken to show no object; FOUND's own threshold


@dataclass(frozen=True)
class Rules:
    """What happens to probabilities.

    The order is that of the public zero-shot code: small classes, then background, then what is too uncertain.

    Parameters
    ----------
    background
        Id of the background class; None where there is none.
    threshold
        A pixel whose best probability does not exceed it becomes background; 0 for none, 1 for all.
    certainty
        With a saliency map: a pixel that is not salient becomes background unless its best probability reaches this.
    ignore_threshold
        A pixel whose best probability is below it gets no label, unless `threshold` has made it background.
    class_thresholds
        The same by class, for the pixels that the class has won.
    area
        A class that has won no more than this share of the pixels of all classes but background is removed, and its
        pixels go to the best of the rest (SCLIP).
    min_component
        Smaller 8-connected components of a class, background excepted, go to the best of the rest of the classes.
    """

    background: int | None = None
    threshold: float = 0.0
    certainty: float = 0.99
    ignore_threshold: float = 0.0
    class_thresholds: Mapping[int, float] = field(default_factory=dict)
    area: float = 0.0
    min_component: int = 0

    def __post_init__(self) -> None:
        for name in ("threshold", "certainty", "ignore_threshold", "area"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {value}")
        if self.min_component < 0:
            raise ConfigError(f"min_component must be >= 0 pixels, got {self.min_component}")
        if self.background is None and self.threshold:
            raise ConfigError(f"a background threshold needs a background class, got {self.threshold} without one")


def decide(
    planes: Mapping[int, Float32[np.ndarray, "H W"]],
    rules: Rules,
    *,
    size: tuple[int, int],
    saliency: Float32[np.ndarray, "H W"] | None = None,
) -> SoftMask:
    """Turn probabilities of the winning classes into a mask; `harden` of it gives the labels that the rules say.

    Parameters
    ----------
    planes
        Class id to probabilities; `UNLABELLED` for prompts that take pixels away. The background, where prompts speak
        for it, must be among them even if it wins nowhere.
    size
        `(H, W)`; there may be no plane at all.
    saliency
        In [0, 1]; without it `certainty` has no say.

    Returns
    -------
    SoftMask
        One plane per class that wins somewhere. With `threshold` the plane of the background is nowhere below it; a
        background that comes from saliency has 1 - saliency. Pixels without a label are zero in all planes.
    """
    ids = sorted(set(planes) - {UNLABELLED}) + ([UNLABELLED] if UNLABELLED in planes else [])
    if rules.background is not None and rules.background not in planes:
        ids = sorted([*(i for i in ids if i != UNLABELLED), rules.background]) + [i for i in ids if i == UNLABELLED]
    scores = np.zeros((len(ids), *size), np.float32)
    for plane, class_id in zip(scores, ids, strict=True):
        if class_id in planes:
            plane[:] = planes[class_id]
    details: dict[str, Any] = {}
    if rules.area:
        details["too_small"] = _remove_small_classes(scores, ids, rules)
    if rules.min_component > 1:
        details["components_removed"] = _remove_small_components(scores, ids, rules)
    _put_background(scores, ids, rules, saliency)
    winners, shares = _leave_unlabelled(scores, ids, rules)
    details |= shares
    kept = [k for k, class_id in enumerate(ids) if class_id != UNLABELLED and (winners == class_id).any()]
    return SoftMask(np.ascontiguousarray(scores[kept]), tuple(ids[k] for k in kept), details=details)


def _best(scores: np.ndarray) -> np.ndarray:
    return scores.max(axis=0) if len(scores) else np.zeros(scores.shape[1:], np.float32)


def _winners(scores: np.ndarray, ids: list[int]) -> np.ndarray:
    """Class of each pixel; `UNLABELLED` where all scores are zero. Ties go to the smaller id."""
    winners, best = np.full(scores.shape[1:], UNLABELLED, np.int32), np.zeros(scores.shape[1:], np.float32)
    for plane, class_id in zip(scores, ids, strict=True):  # several times faster than argmax
        np.copyto(winners, class_id, where=plane > best)
        np.maximum(best, plane, out=best)
    return winners


def _foreground(ids: list[int], rules: Rules) -> list[int]:
    return [k for k, class_id in enumerate(ids) if class_id not in (rules.background, UNLABELLED)]


def _remove_small_classes(scores: np.ndarray, ids: list[int], rules: Rules) -> list[int]:
    winners = _winners(scores, ids)
    counts = {k: int((winners == ids[k]).sum()) for k in _foreground(ids, rules)}
    small = [k for k, count in counts.items() if count <= rules.area * sum(counts.values())]
    scores[small] = 0
    return [ids[k] for k in small if counts[k]]


def _remove_small_components(scores: np.ndarray, ids: list[int], rules: Rules) -> int:
    removed = 0
    winners = _winners(scores, ids)
    ignore = IGNORE if max(ids) < IGNORE else WIDE_IGNORE
    labels = np.where(winners == UNLABELLED, ignore, winners).astype(np.uint8 if ignore == IGNORE else np.uint16)
    numbers, facts = label_components(labels, ignore=ignore)
    for k in _foreground(ids, rules):
        small = np.flatnonzero((facts[:, 0] == ids[k]) & (facts[:, 5] < rules.min_component))
        if len(small):
            scores[k][np.isin(numbers, small)] = 0
            removed += len(small)
    return removed


def _put_background(scores: np.ndarray, ids: list[int], rules: Rules, saliency: np.ndarray | None) -> None:
    if rules.background is None:
        return
    back = scores[ids.index(rules.background)]
    if saliency is not None:
        empty = (saliency < NOT_SALIENT) & (_best(scores) < rules.certainty)
        scores[:, empty] = 0
        back[empty] = 1 - saliency[empty]
    if rules.threshold:
        low = _best(scores) <= rules.threshold
        # A tie goes to the smaller id, which need not be the background.
        scores[:, low] = np.minimum(scores[:, low], np.nextafter(np.float32(rules.threshold), np.float32(0)))
        np.maximum(back, np.float32(rules.threshold), out=back)


def _leave_unlabelled(scores: np.ndarray, ids: list[int], rules: Rules) -> tuple[np.ndarray, dict[str, Any]]:
    """Zero the pixels that a negative prompt wins or that are too uncertain; who wins then, and the share of each."""
    winners, best = _winners(scores, ids), _best(scores)
    limits = np.full(max([0, *ids]) + 1, rules.ignore_threshold, np.float32)
    if rules.background is not None:
        # what a threshold has made background is as certain as it can be
        by_threshold = (winners == rules.background) & (best <= rules.threshold)
    else:
        by_threshold = np.zeros(best.shape, bool)
    for class_id, limit in rules.class_thresholds.items():
        if class_id < len(limits):
            limits[class_id] = max(limits[class_id], limit)
    taken = winners == UNLABELLED
    uncertain = np.zeros(best.shape, bool)
    if limits.any():
        uncertain = ~taken & ~by_threshold & (best < limits[np.where(taken, 0, winners)])
    if uncertain.any() or taken.any():
        scores[:, taken | uncertain] = 0
        winners[uncertain] = UNLABELLED
    share = {"taken_away": taken, "uncertain": uncertain}
    return winners, {name: round(float(where.mean()), 6) for name, where in share.items() if where.any()}
