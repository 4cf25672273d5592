"""How well a classifier tells what images show: average precision and F1 of image-level predictions."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from labelgen.data.dataset import Dataset
from labelgen.nets.cam.network import CamNetwork
from labelgen.nets.cam.tags import Targets
from labelgen.nets.geometry import resize_image

__all__ = ["average_precision", "image_level_scores", "micro_f1", "normalised", "predict_tags"]


def average_precision(scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]) -> float:
    """Mean precision at the rank of each positive; nan without any.

    Equal scores share the worst of their ranks, so that a constant score earns no more than the share of positives.

    Examples
    --------
    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    0.8333333333333333
    """
    if not positive.any():
        return float("nan")
    ranks = np.array([(scores >= score).sum() for score in scores[positive]])
    hits = np.array([(scores[positive] >= score).sum() for score in scores[positive]])
    return float((hits / ranks).mean())


def micro_f1(predicted: Bool[np.ndarray, "N C"], truth: Bool[np.ndarray, "N C"]) -> float:
    """2 TP / (2 TP + FP + FN) over all images and classes; nan when there is nothing to find and nothing found.

    Examples
    --------
    >>> micro_f1(np.array([[True, True]]), np.array([[True, False]]))
    0.6666666666666666
    """
    both, either = 2 * int((predicted & truth).sum()), int(predicted.sum()) + int(truth.sum())
    return both / either if either else float("nan")


def predict_tags(network: CamNetwork, dataset: Dataset) -> Float64[np.ndarray, "N C"]:
    """Probability of each class in each image, from the whole image in the nearest size that the network takes."""
    network.eval()
    rows = []
    for sample_id in dataset.ids:
        with torch.inference_mode():
            maps = network(normalised(network, dataset.image(sample_id))).maps
            rows.append(network.logits(maps)[0].double().sigmoid().cpu().numpy())
    return np.stack(rows)


def normalised(network: CamNetwork, image: np.ndarray) -> Float[Tensor, "1 3 H W"]:
    """An image as the network takes it, on its device."""
    reading = network.reading
    height, width = (max(1, round(side / reading.multiple)) * reading.multiple for side in image.shape[:2])
    resized = resize_image(image, (height, width)).astype(np.float32) / np.float32(255)
    values = (resized - np.array(reading.mean, np.float32)) / np.array(reading.std, np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
    return tensor.to(network.head.weight.device)


def image_level_scores(network: CamNetwork, dataset: Dataset, targets: Targets) -> dict[str, float]:
    """`map`, the mean average precision over the classes, and `f1` at a probability of a half, against the tags."""
    probabilities = predict_tags(network, dataset)
    truth = np.stack([targets.rows[sample_id] for sample_id in dataset.ids]) > 0
    precisions = [average_precision(probabilities[:, c], truth[:, c]) for c in range(truth.shape[1])]
    return {"map": float(np.mean(precisions)), "f1": micro_f1(probabilities > 0.5, truth)}
