"""A ranking as plain JSON values: suspicious images and classes, and how well each score finds what is really bad."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from labelgen.quality.confusion import scores_from_confusion
from labelgen.quality.evaluate import Evaluation
from labelgen.quality.plain import plain
from labelgen.quality.ranking import auroc, spearman
from labelgen.quality.suspicion import SCORES, Suspicion

__all__ = ["BAD_BELOW", "Marks", "corrupted_marks", "rank_document"]

BAD_BELOW = 0.5
"""Mean IoU below which an image counts as bad, where nothing else is asked for."""


@dataclass(frozen=True)
class Marks:
    """Images that a run itself says to have corrupted.

    Parameters
    ----------
    corrupted
        By image: chosen, and at least one labelled pixel came out wrong.
    chosen
        How many were chosen; some may have come out unchanged.
    """

    corrupted: Bool[np.ndarray, " N"]
    chosen: int


def corrupted_marks(records: Mapping[str, Mapping[str, Any]], ids: tuple[str, ...]) -> Marks | None:
    """Read off the manifest which images `labelgen corrupt` made worse; None where it does not say, or all or none are.

    Examples
    --------
    >>> records = {"a": {"details": {"corrupted": True, "noise": {"wrong_pixels": 3}}}, "b": {"details": {}}}
    >>> records["b"]["details"] = {"corrupted": False, "noise": {"wrong_pixels": 0}}
    >>> corrupted_marks(records, ("a", "b"))
    Marks(corrupted=array([ True, False]), chosen=1)
    """
    details = [records[sample_id]["details"] for sample_id in ids]
    if not all("corrupted" in entry for entry in details):
        return None
    chosen = sum(bool(entry["corrupted"]) for entry in details)
    wrong = [bool(entry["corrupted"]) and entry.get("noise", {}).get("wrong_pixels", 0) > 0 for entry in details]
    return Marks(np.array(wrong), chosen) if 0 < sum(wrong) < len(wrong) else None


def rank_document(
    suspicion: Suspicion,
    *,
    by: str,
    top: int,
    evaluation: Evaluation | None = None,
    bad_below: float = BAD_BELOW,
    marks: Marks | None = None,
) -> dict[str, Any]:
    """Say which images and classes are suspicious; with truth, or marks, also how well each score ranks.

    Parameters
    ----------
    by
        The score to rank by.
    top
        How many images to list; 0 for all.
    evaluation
        Of the run against truth, over its images.
    bad_below
        An image is bad when its mean IoU over labelled pixels is below this.
    """
    iou = None if evaluation is None else _image_iou(suspicion, evaluation)
    order = suspicion.order(by)
    document = {
        "run": suspicion.name,
        "by": by,
        "num_images": len(suspicion.ids),
        "missing": {key: count for key, count in suspicion.missing.items() if count},
        "scores": {
            name: {"sentence": SCORES[name].sentence, "suspicious": "low" if SCORES[name].low else "high"}
            for name in suspicion.values
        },
        "images": [
            _image(suspicion, index, place, iou, marks)
            for place, index in enumerate(order[: top or len(order)], start=1)
        ],
        "classes": _classes(suspicion, by, evaluation),
        "agreement": _agreement(suspicion),
        "truth": None if iou is None else _against_truth(suspicion, iou, bad_below),
        "corrupted": None if marks is None else _against_marks(suspicion, marks),
    }
    return plain(document)


def _image_iou(suspicion: Suspicion, evaluation: Evaluation) -> Float64[np.ndarray, " N"]:
    by_id = {row.id: row.miou_labelled for row in evaluation.images}
    return np.array([by_id.get(sample_id, math.nan) for sample_id in suspicion.ids])


def _image(suspicion: Suspicion, index: int, place: int, iou: np.ndarray | None, marks: Marks | None) -> dict[str, Any]:
    row: dict[str, Any] = {"place": place, "id": suspicion.ids[index]}
    row |= {name: values[index] for name, values in suspicion.values.items()}
    if suspicion.worst_class.size:
        worst = int(suspicion.worst_class[index])
        row["worst_class"] = suspicion.vocabulary.classes[worst] if worst >= 0 else None
    if suspicion.odd_region:
        odd = suspicion.odd_region[index]
        names = suspicion.vocabulary.classes
        row["labelled"], row["looks_like"] = (names[odd.class_id], names[odd.other]) if odd else (None, None)
    if iou is not None:
        row["iou"] = iou[index]
    if marks is not None:
        row["corrupted"] = bool(marks.corrupted[index])
    return row


def _classes(suspicion: Suspicion, by: str, evaluation: Evaluation | None) -> list[dict[str, Any]]:
    """One row for each class that a label shows, the most suspicious first."""
    names = suspicion.vocabulary.classes
    key = {"softmin": "given", "combined": "region"}.get(by, by)
    iou = None
    if evaluation is not None:
        scores = scores_from_confusion(evaluation.matrix, unlabelled="exclude")
        iou = dict(zip(evaluation.vocabulary.classes, scores.iou, strict=True))
    rows = []
    for class_id in np.flatnonzero(suspicion.pixels):
        row: dict[str, Any] = {"id": int(class_id), "name": names[class_id]}
        row |= {"pixels": suspicion.pixels[class_id], "images": suspicion.images[class_id]}
        row |= {name: values[class_id] for name, values in suspicion.class_values.items()}
        if suspicion.joint is not None:
            row["taken_for"] = _taken_for(suspicion.joint[class_id], int(class_id), names)
        if iou is not None:
            row["iou"] = iou.get(names[class_id])
        rows.append(row)
    sign = 1 if SCORES[key].low else -1
    return sorted(rows, key=lambda row: (math.isnan(row[key]), sign * row[key], row["id"]))


def _taken_for(joint: np.ndarray, class_id: int, names: tuple[str, ...]) -> str | None:
    """The other class that predictions are most often confident of at pixels of this label."""
    others = joint.copy()
    others[class_id] = 0
    return names[int(others.argmax())] if others.any() else None


def _agreement(suspicion: Suspicion) -> dict[str, Any] | None:
    found = suspicion.agreement
    if found is None:
        return None
    return {"pixel": found.pixel, "miou": found.miou, "num_classes": found.num_classes, "pixels": found.both}


def _against_truth(suspicion: Suspicion, iou: np.ndarray, bad_below: float) -> dict[str, Any]:
    known = np.isfinite(iou)
    bad = iou < bad_below  # nan is not bad: it has no labelled pixel on valid truth, so nothing can be said
    return {
        "quality": "mean IoU of an image over its labelled pixels",
        "bad_below": bad_below,
        "bad": int(bad.sum()),
        "images": int(known.sum()),
        "scores": {
            name: {
                "spearman": spearman(-suspicion.suspicion(name), iou),
                "auroc": auroc(np.where(known, suspicion.suspicion(name), np.nan), bad),
            }
            for name in suspicion.values
        },
    }


def _against_marks(suspicion: Suspicion, marks: Marks) -> dict[str, Any]:
    corrupted = int(marks.corrupted.sum())
    found = {name: auroc(suspicion.suspicion(name), marks.corrupted) for name in suspicion.values}
    return {
        "corrupted": corrupted,
        "unchanged": marks.chosen - corrupted,
        "images": len(marks.corrupted),
        "scores": {name: {"auroc": value} for name, value in found.items()},
    }
