"""Other ways to draw a polyline: those of the label files that papers on scribbles were trained with."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from labelgen.geometry.rasterise import draw_polyline

__all__ = ["PENS", "draw_rloss", "draw_tel"]


def draw_rloss(points: Float[np.ndarray, "N 2"], *, width: float, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Draw plain line segments of whole-pixel width, with square ends and open joints.

    This is the manner of the PNG files that many later papers use: width 3, no anti-aliasing. A dot is a square of the
    pen's width.

    References
    ----------
    .. [1] Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", ECCV 2018, arXiv 1803.09569.

    Examples
    --------
    >>> int(draw_rloss(np.array([[2.0, 1.0], [2.0, 5.0]]), width=3.0, size=(5, 7)).sum())
    15
    """
    pen = max(1, round(width))
    canvas, brush = _canvas(size)
    if len(points) == 1:
        row, col = np.floor(points[0] + 0.5)
        low, high = (pen - 1) // 2, pen // 2
        brush.rectangle([col - low, row - low, col + high, row + high], fill=1)
    else:
        brush.line(_flat(points), fill=1, width=pen)
    return np.array(canvas, dtype=bool)


def draw_tel(points: Float[np.ndarray, "N 2"], *, width: float, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Draw line segments with round joints, and a disc of the pen's width at every vertex.

    References
    ----------
    .. [1] Liang et al., "Tree Energy Loss", CVPR 2022, arXiv 2203.10739; likewise Obukhov et al., "Gated CRF Loss",
       arXiv 1906.04651, whose default width is 1.

    Examples
    --------
    >>> draw_tel(np.array([[2.0, 2.0]]), width=3.0, size=(5, 5)).astype(int)[1:4, 1:4].tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    pen = max(1, round(width))
    canvas, brush = _canvas(size)
    if len(points) > 1:
        brush.line(_flat(points), fill=1, width=pen, joint="curve")
    radius = (pen - 1) / 2
    for row, col in np.floor(points + 0.5):
        if pen == 1:  # Pillow draws no ellipse of a single pixel
            brush.point((col, row), fill=1)
            continue
        brush.ellipse([col - radius, row - radius, col + radius, row + radius], fill=1)
    return np.array(canvas, dtype=bool)


def _canvas(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (size[1], size[0]))
    return canvas, ImageDraw.Draw(canvas)


def _flat(points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(col), float(row)) for row, col in points]


PENS: Mapping[str, Callable] = {"round": draw_polyline, "rloss": draw_rloss, "tel": draw_tel}
"""Ways to draw a polyline, called as `draw(points, width=..., size=...)`."""
