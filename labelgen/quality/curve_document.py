"""The figures of a threshold curve as plain JSON values: what the run itself did, and what truth would have chosen."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from labelgen.quality.confusion import scores_from_confusion
from labelgen.quality.curve import CurvePoint, best_point, curve_points
from labelgen.quality.curve_run import RunCurve
from labelgen.quality.plain import plain
from labelgen.seeds.backgrounds import Fixed, Power, threshold_to_alpha
from labelgen.store.header import ids_sha256

__all__ = ["curve_document"]

IGNORES_BACKGROUND = (
    "the curve ignores the background plane of the scores: at each threshold a pixel whose best class exceeds it is "
    "of that class, and every other pixel is background"
)
ROUNDED = "scores were stored as float16, so labels at a threshold may differ from the run's own in single pixels"


def curve_document(curve: RunCurve, *, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Say everything about one curve; fractions, None where there is no number.

    `fixed` is what the run itself did, with no truth. `oracle` is the best threshold on the images that are reported
    on. `selected`, with `select_on`, is the best threshold on those images, used on the others. `area` is the mean of
    mIoU over all thresholds from 0 to 1.

    Parameters
    ----------
    notes
        More to know about the scores.
    """
    points = curve_points(curve.reported, unlabelled=curve.options.unlabelled)
    document = {
        "fixed": _fixed(curve),
        "oracle": _oracle(curve, points),
        "selected": _selected(curve, points),
        "area": float(np.trapezoid([point.miou for point in points], [point.threshold for point in points])),
        "curve": [_point(point) for point in points],
        "curve_conventions": {
            "bins": curve.options.bins,
            "unlabelled": curve.options.unlabelled,
            "notes": [IGNORES_BACKGROUND, ROUNDED, *_refined_notes(curve), *notes],
            "provenance": _provenance(curve),
        },
    }
    return plain(document)


def _fixed(curve: RunCurve) -> dict[str, Any]:
    scores = scores_from_confusion(
        curve.own, unlabelled=curve.options.unlabelled, background=curve.truth.vocabulary.background
    )
    refined = curve.run.header["method"] == "refine"
    threshold = curve.rule.threshold if isinstance(curve.rule, Fixed | Power) and not refined else None
    return {
        "miou": scores.miou,
        "num_classes": scores.num_classes,
        "background": str(curve.rule) if curve.rule is not None else None,
        "threshold": threshold,
        "alpha": _alpha(threshold),
        "source": "the labels of the run; no truth was used",
        "num_images": curve.reported.images,
    }


def _oracle(curve: RunCurve, points: list[CurvePoint]) -> dict[str, Any]:
    count = curve.reported.images
    return {
        **_point(best_point(points)),
        "iou": [float(value) for value in best_point(points).iou],
        "num_images": count,
        "sentence": f"This threshold was chosen with the truth of the {count} images that it is scored on: an upper "
        "bound, and no result of image-level supervision.",
    }


def _selected(curve: RunCurve, points: list[CurvePoint]) -> dict[str, Any] | None:
    if curve.selecting is None:
        return None
    chosen = best_point(curve_points(curve.selecting, unlabelled=curve.options.unlabelled))
    point = next(point for point in points if point.threshold == chosen.threshold)
    return {
        **_point(point),
        "iou": [float(value) for value in point.iou],
        "miou_where_chosen": chosen.miou,
        "num_images_chosen_on": curve.selecting.images,
        "num_images": curve.reported.images,
        "sentence": f"This threshold was chosen with the truth of {curve.selecting.images} images and is scored on the "
        f"{curve.reported.images} others.",
    }


def _point(point: CurvePoint) -> dict[str, Any]:
    return {
        "threshold": point.threshold,
        "alpha": _alpha(point.threshold),
        "miou": point.miou,
        "num_classes": point.num_classes,
        "foreground": point.foreground,
    }


def _alpha(threshold: float | None) -> float | None:
    """The alpha of the power rule with the same labels; none for the ends."""
    return threshold_to_alpha(threshold) if threshold is not None and 0 < threshold < 1 else None


def _provenance(curve: RunCurve) -> dict[str, Any]:
    spec, ids = curve.truth.spec, curve.truth.ids
    return {
        "truth": f"{spec.kind}:{spec.root}" if spec.root else spec.kind,
        "split": spec.split,
        "num_images": len(ids),
        "num_images_reported": curve.reported.images,
        "ids_sha256": ids_sha256(ids),
        "run": curve.run.path.as_posix(),
        "method": curve.run.header["method"],
        "supervision": list(curve.run.header["supervision"]),
    }


def _refined_notes(curve: RunCurve) -> list[str]:
    if curve.run.header["method"] != "refine":
        return []
    names = ", ".join(step["refiner"] for step in curve.run.header["config"]["steps"])
    return [f"scores are those after {names}, which saw the background plane; a threshold here is set after refining"]
