"""Slow, obvious versions of what the packages compute fast; the tests compare the two."""

import math

import numpy as np


def loop_confusion(truth, labels, num_classes, ignore=255):
    """Confusion matrix with a last column for unlabelled pixels, one pixel at a time."""
    matrix = [[0] * (num_classes + 1) for _ in range(num_classes)]
    for true_id, label in zip(truth.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if true_id != ignore:
            matrix[true_id][num_classes if label == ignore else label] += 1
    return np.array(matrix)


def loop_scores(truth, labels, num_classes, unlabelled, background=0, ignore=255):
    """IoU, precision, recall, FP and FN rate by class and the pixel accuracy, from sets of pixels."""
    pairs = [(t, p) for t, p in zip(truth.ravel().tolist(), labels.ravel().tolist(), strict=True) if t != ignore]
    if unlabelled == "exclude":
        pairs = [(t, p) for t, p in pairs if p != ignore]
    if unlabelled == "background":
        pairs = [(t, background if p == ignore else p) for t, p in pairs]
    table = {name: [] for name in ("iou", "precision", "recall", "fp_rate", "fn_rate")}
    for k in range(num_classes):
        is_true = {i for i, (t, _) in enumerate(pairs) if t == k}
        is_label = {i for i, (_, p) in enumerate(pairs) if p == k}
        both = is_true & is_label
        table["iou"].append(_share(len(both), len(is_true | is_label)))
        table["precision"].append(_share(len(both), len(is_label)))
        table["recall"].append(_share(len(both), len(is_true)))
        table["fp_rate"].append(_share(len(is_label - is_true), len(is_true)))
        table["fn_rate"].append(_share(len(is_true - is_label), len(is_true)))
    table["pixel_accuracy"] = _share(sum(t == p for t, p in pairs), len(pairs))
    return table


def _share(part, whole):
    return part / whole if whole else math.nan


def loop_boundary(mask, distance):
    """Pixels of a mask within `distance` steps of its contour, by eroding with a 3 x 3 square, one step at a time."""
    H, W = mask.shape
    eroded = mask.copy()
    for _ in range(distance):
        padded = np.zeros((H + 2, W + 2), bool)
        padded[1:-1, 1:-1] = eroded
        eroded = np.array([[padded[r : r + 3, c : c + 3].all() for c in range(W)] for r in range(H)])
    return mask & ~eroded


def loop_contour_distance(truth):
    """Distance of every pixel to the nearest pixel with another 4-neighbour, plus 1; by comparing all pairs."""
    H, W = truth.shape
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    contour = [
        (r, c)
        for r in range(H)
        for c in range(W)
        if any(0 <= r + i < H and 0 <= c + j < W and truth[r + i, c + j] != truth[r, c] for i, j in steps)
    ]
    return np.array(
        [[1 + min((math.dist((r, c), p) for p in contour), default=math.inf) for c in range(W)] for r in range(H)]
    )
