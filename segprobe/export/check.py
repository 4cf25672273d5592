"""Whether an exported graph says what the probe says: on pictures of its size, before anybody relies on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from labelgen.errors import LabelgenError
from segprobe.predict import Predictor

__all__ = ["Agreement", "ExportError", "Run", "check_pictures", "compare_with"]

LARGEST_DIFFERENCE = 1e-3  # of a logit or a probability
LEAST_AGREEMENT = 0.999  # of the pixels
PICTURES = 4

Run = Callable[[UInt8[np.ndarray, "H W 3"]], tuple[np.ndarray, ...]]
"""An exported graph on one picture: its outputs without the axis of the batch."""


class ExportError(LabelgenError, RuntimeError):
    """An exported graph does not do what the probe does."""


@dataclass(frozen=True)
class Agreement:
    """How far a graph is from the probe.

    Parameters
    ----------
    difference
        Largest absolute difference of a logit, or of a probability.
    agreement
        Share of the pixels with the same class.
    pictures
        On how many pictures.
    """

    difference: float
    agreement: float
    pictures: int


def compare_with(predictor: Predictor, run: Run, size: tuple[int, int], *, outputs: str, where: str) -> Agreement:
    """Compare a graph with the probe's own predictions.

    Raises
    ------
    ExportError
        When logits differ by 1e-3 or more, or more than 0.1 % of the pixels get another class.
    """
    differences, same = [], []
    for picture in check_pictures(size, np.random.default_rng(0)):
        logits = predictor.logits([picture])[0]
        wanted = logits.softmax(-1) if outputs == "probabilities" else logits
        expected = wanted.permute(2, 0, 1).cpu().numpy()
        found = run(picture)
        differences.append(float(np.abs(found[0] - expected).max()))
        labels = found[1] if outputs == "argmax" else predictor.class_ids[found[0].argmax(0)]
        same.append(float((labels == predictor.class_ids[expected.argmax(0)]).mean()))
    result = Agreement(max(differences), float(np.mean(same)), len(same))
    if not (result.difference < LARGEST_DIFFERENCE and result.agreement > LEAST_AGREEMENT):
        raise ExportError(
            f"the exported graph must agree with the probe, got differences up to {result.difference:.2g} and"
            f" {100 * result.agreement:.2f} % of the pixels with the same class: {where}",
            hint="the file was not kept; is this head or backbone one that --format safetensors takes?",
        )
    return result


def check_pictures(size: tuple[int, int], rng: np.random.Generator) -> Sequence[UInt8[np.ndarray, "H W 3"]]:
    """Pictures for a comparison, noise of several scales: from single pixels to a quarter of the picture."""
    pictures = []
    for number in range(PICTURES):
        cells = tuple(max(1, round(side / 4 ** (number + 1) * 4)) for side in size) if number else size
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, *cells)))
        fine = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")[0].permute(1, 2, 0)
        pictures.append(fine.round().to(torch.uint8).numpy())
    return pictures
