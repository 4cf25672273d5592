"""The figures of an evaluation as plain JSON values: what `labelgen quality --json` prints and the tables read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from labelgen.quality.boundary import BOUNDARY_FRACTION
from labelgen.quality.boundary_f1 import boundary_f1
from labelgen.quality.confusion import Scores, mean_of_numbers, ratio, scores_from_confusion, single_ratio
from labelgen.quality.evaluate import Evaluation
from labelgen.quality.intervals import miou_intervals
from labelgen.quality.panoptic import panoptic_quality
from labelgen.quality.plain import plain
from labelgen.quality.sparse import foreground_scores

__all__ = ["HEADLINES", "quality_document"]

HEADLINES = {"miss": "miou", "exclude": "miou_labelled", "background": "miou_background", "error": "miou"}
"""Which figure stands for a run under each rule for unlabelled pixels. The names never change their meaning."""


def quality_document(evaluation: Evaluation, *, supervision: Sequence[str] | None = None) -> dict[str, Any]:
    """Say everything about one run; all values are fractions or counts, None where there is no number.

    `miou` counts unlabelled pixels as misses, `miou_labelled` leaves them out, `miou_background` counts them as
    background, whatever the rule of the evaluation; the rest (per class, accuracies, foreground, boundary, trimap)
    follows the rule.

    Parameters
    ----------
    supervision
        What the method was allowed to see; None where that is unknown.
    """
    vocabulary, options, matrix = evaluation.vocabulary, evaluation.options, evaluation.matrix
    rule = {"unlabelled": options.unlabelled, "background": vocabulary.background}
    scores = scores_from_confusion(matrix, **rule)
    strict = scores_from_confusion(matrix, unlabelled="miss")
    labelled = scores_from_confusion(matrix, unlabelled="exclude")
    filled = None
    if vocabulary.background is not None:
        filled = scores_from_confusion(matrix, unlabelled="background", background=vocabulary.background)
    document: dict[str, Any] = {
        "run": evaluation.name,
        "miou": strict.miou,
        "miou_labelled": labelled.miou,
        "miou_background": filled.miou if filled else None,
        "coverage": scores.overall_coverage,
        "num_classes": strict.num_classes,
        "num_classes_labelled": labelled.num_classes,
        "num_images": len(evaluation.images),
        "headline": {
            "name": HEADLINES[options.unlabelled],
            "value": scores.miou,
            "num_classes": scores.num_classes,
        },
        "pixel_accuracy": scores.pixel_accuracy,
        "mean_accuracy": scores.mean_accuracy,
        "frequency_weighted_iou": scores.frequency_weighted_iou,
        "accuracy_labelled": scores.accuracy_labelled,
        "mean_fp_rate": mean_of_numbers(scores.fp_rate),
        "mean_fn_rate": mean_of_numbers(scores.fn_rate),
        "foreground": _foreground(evaluation),
        "sparse": _sparse(evaluation),
        "boundary": _boundary(evaluation),
        "trimap": _trimap(evaluation, rule),
        "boundary_f1": _boundary_f1(evaluation),
        "panoptic": _panoptic(evaluation),
        "calibration": _calibration(evaluation),
        "per_class": _per_class(evaluation, scores),
        "supervision": None if supervision is None else list(supervision),
        "conventions": _conventions(evaluation),
    }
    if evaluation.class_counts:
        document["intervals"] = miou_intervals(np.concatenate(evaluation.class_counts))
    return plain(document)


def _conventions(evaluation: Evaluation) -> dict[str, Any]:
    vocabulary = evaluation.vocabulary
    return {
        "pooling": "dataset",
        "unlabelled": evaluation.options.unlabelled,
        "absent": "nan",
        "ignore": vocabulary.ignore,
        "vocabulary": vocabulary.name,
        "background": vocabulary.background,
        "missing_images": "unlabelled",
        "units": "fraction",
    }


def _foreground(evaluation: Evaluation) -> dict[str, Any] | None:
    background = evaluation.vocabulary.background
    if background is None:
        return None
    scores = foreground_scores(evaluation.matrix, background=background, unlabelled=evaluation.options.unlabelled)
    return {"miou": scores.miou, "background_iou": scores.iou[0], "foreground_iou": scores.iou[1]}


def _sparse(evaluation: Evaluation) -> dict[str, Any]:
    images = evaluation.images
    missed, present = sum(len(row.missed) for row in images), sum(row.present for row in images)
    void = evaluation.counts[-1]
    return {
        "missing_images": len(evaluation.missing),
        "extra_labels": len(evaluation.extra),
        "missed_classes": missed,
        "missed_class_rate": single_ratio(missed, present),
        "images_with_missed_classes": sum(bool(row.missed) for row in images),
        "labelled_share_of_void": single_ratio(void[:-1].sum(), void.sum()),
        "mean_image_miou": mean_of_numbers(np.array([row.miou for row in images])),
    }


def _boundary(evaluation: Evaluation) -> dict[str, Any] | None:
    if evaluation.boundary is None:
        return None
    both, either, everywhere, valid = evaluation.boundary
    iou = ratio(both, either)
    return {
        "miou": mean_of_numbers(iou),
        "num_classes": int(np.isfinite(iou).sum()),
        "valid_share": single_ratio(valid.sum(), everywhere.sum()),
        "fraction_of_diagonal": BOUNDARY_FRACTION,
        "pooling": "dataset",
    }


def _trimap(evaluation: Evaluation, rule: dict[str, Any]) -> list[dict[str, Any]] | None:
    if evaluation.bands is None:
        return None
    rows = []
    valid = evaluation.matrix.sum()
    for band, matrix in zip(evaluation.options.bands, evaluation.bands, strict=True):
        scores = scores_from_confusion(matrix, **rule)
        rows.append(
            {
                "band": band,
                "miou": scores.miou,
                "num_classes": scores.num_classes,
                "pixel_accuracy": scores.pixel_accuracy,
                "share_of_valid": single_ratio(matrix.sum(), valid),
            }
        )
    return rows


def _boundary_f1(evaluation: Evaluation) -> dict[str, Any] | None:
    if evaluation.more.contours is None:
        return None
    found = boundary_f1(evaluation.more.contours)
    return {
        "f1": found.mean,
        "precision": mean_of_numbers(found.precision),
        "recall": mean_of_numbers(found.recall),
        "num_classes": int(np.isfinite(found.f1).sum()),
        "tolerance": evaluation.options.boundary_f1,
        "pooling": "dataset",
    }


def _panoptic(evaluation: Evaluation) -> dict[str, Any] | None:
    counts = evaluation.more.objects
    if counts is None:
        return None
    found = panoptic_quality(counts)
    _, matches, extra, missed = counts.sum(axis=1)
    return {
        "pq": found.mean_pq,
        "sq": found.mean_sq,
        "rq": found.mean_rq,
        "num_classes": found.num_classes,
        "matched": int(matches),
        "unmatched_labels": int(extra),
        "unmatched_truth": int(missed),
        "images_with_instances": evaluation.more.instance_images,
    }


def _calibration(evaluation: Evaluation) -> dict[str, Any] | None:
    found = evaluation.more.calibration
    if found is None or not evaluation.more.scored_images:
        return None
    return {**found.to_json(), "images": evaluation.more.scored_images}


def _per_class(evaluation: Evaluation, scores: Scores) -> list[dict[str, Any]]:
    rows, more = [], evaluation.more
    contours = None if more.contours is None else boundary_f1(more.contours)
    objects = None if more.objects is None else panoptic_quality(more.objects)
    class_ece = None if more.calibration is None else more.calibration.class_ece
    for class_id, name in enumerate(evaluation.vocabulary.classes):
        row: dict[str, Any] = {"id": class_id, "name": name}
        for figure in ("iou", "precision", "recall", "fp_rate", "fn_rate", "coverage", "truth_pixels", "label_pixels"):
            row[figure] = getattr(scores, figure)[class_id]
        if evaluation.boundary is not None:
            both, either = evaluation.boundary[:2, class_id]
            row["boundary_iou"] = single_ratio(both, either)
        if contours is not None:
            row["boundary_f1"] = contours.f1[class_id]
        if objects is not None:
            row |= {"pq": objects.pq[class_id], "sq": objects.sq[class_id], "rq": objects.rq[class_id]}
        if class_ece is not None:
            row["ece"] = class_ece[class_id]
        rows.append(row)
    return rows
