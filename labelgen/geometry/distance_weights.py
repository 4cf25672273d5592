"""Weights of pixels by their distance to scribbles and to the contours of pseudo-labels."""

import numpy as np
from jaxtyping import Bool, Float32

from labelgen.geometry.distance import distance_to_zero
from labelgen.masks import IGNORE, LabelMap

__all__ = ["CONTOUR_RADIUS", "SCRIBBLE_RADIUS", "contour_of", "contour_weights", "radius_of_lambda", "scribble_weights"]

GREY_LEVELS = 255.0  # the distance maps of the paper are 8-bit pictures, which is where this number comes from


def radius_of_lambda(factor: float) -> float:
    """The radius in pixels that a factor lambda of the paper stands for: 255 / sqrt(lambda).

    Parameters
    ----------
    factor
        lambda_s or lambda_c, > 0. The paper sweeps e^0 to e^9 and settles on e for scribbles, e^6 for contours.

    Raises
    ------
    ValueError
        When the factor is not > 0.

    References
    ----------
    .. [1] "Scribble Hides Class: Promoting Scribble-Based Weakly-Supervised Semantic Segmentation with Its Class
       Label", AAAI 2024, arXiv 2402.17555, distance maps.

    Examples
    --------
    >>> import math
    >>> round(radius_of_lambda(math.e), 1), round(radius_of_lambda(math.exp(6)), 1)
    (154.7, 12.7)
    """
    if not factor > 0:
        raise ValueError(f"lambda must be > 0, got {factor}")
    return GREY_LEVELS / factor**0.5


SCRIBBLE_RADIUS = 154.7
"""Pixels: `radius_of_lambda(e)`, the default of the paper for scribbles."""

CONTOUR_RADIUS = 12.7
"""Pixels: `radius_of_lambda(e ** 6)`, the default of the paper for contours of pseudo-labels."""


def scribble_weights(
    strokes: Bool[np.ndarray, "H W"], *, radius: float = SCRIBBLE_RADIUS
) -> Float32[np.ndarray, "H W"]:
    """Weigh each pixel by how near it is to a foreground scribble: max(0, 1 - distance / radius).

    Parameters
    ----------
    strokes
        Where foreground strokes are; strokes of background do not count.
    radius
        Distance in pixels of the original image from which on the weight is 0. At scale z of the image, give z times
        the radius.

    Returns
    -------
    Float32[np.ndarray, "H W"]
        In [0, 1]; 1 on the strokes; 0 everywhere without a stroke. Nothing is rounded to 8 bits.

    Raises
    ------
    ValueError
        When the radius is not > 0.

    References
    ----------
    .. [1] arXiv 2402.17555 (AAAI 2024), the scribble distance map; there it is `255 - min(255, sqrt(lambda) d)` in
       8 bits, see `radius_of_lambda`.

    Examples
    --------
    >>> strokes = np.array([[True, False, False, False, False]])
    >>> scribble_weights(strokes, radius=4)
    array([[1.  , 0.75, 0.5 , 0.25, 0.  ]], dtype=float32)
    """
    _check_radius(radius)
    if not strokes.any():
        return np.zeros(strokes.shape, np.float32)
    distance = distance_to_zero(np.logical_not(strokes).view(np.uint8))
    return np.maximum(np.float32(0), np.float32(1) - distance / np.float32(radius))


def contour_weights(
    pseudo: LabelMap, *, radius: float = CONTOUR_RADIUS, background: int | None = 0, ignore: int = IGNORE
) -> Float32[np.ndarray, "H W"]:
    """Weigh each pixel by how far it is from a contour of the pseudo-labels: min(1, distance / radius).

    Pseudo-labels are least reliable at their contours, on both sides of them.

    Parameters
    ----------
    pseudo
        Pseudo-labels.
    radius
        Distance in pixels of the original image from which on the weight is 1. At scale z of the image, give z times
        the radius.
    background
        Id of the background; None if every class is foreground.
    ignore
        Id of pixels without pseudo-label, such as padding; their weight is 0.

    Returns
    -------
    Float32[np.ndarray, "H W"]
        In [0, 1]; 0 on contours and where there is no pseudo-label; 0 everywhere without any foreground; 1 on all
        pseudo-labels if there is foreground but no contour.

    Raises
    ------
    ValueError
        When the radius is not > 0.

    References
    ----------
    .. [1] arXiv 2402.17555 (AAAI 2024), the pseudo-label distance map. In the released maps padding has weight 1;
       here it has 0.

    Examples
    --------
    >>> contour_weights(np.array([[0, 0, 0, 7, 7, 7, 255]], np.uint8), radius=2)
    array([[1. , 0.5, 0. , 0. , 0.5, 1. , 0. ]], dtype=float32)
    """
    _check_radius(radius)
    labelled = pseudo != ignore
    foreground = labelled if background is None else labelled & (pseudo != background)
    if not foreground.any():
        return np.zeros(pseudo.shape, np.float32)
    contour = contour_of(pseudo, ignore=ignore)
    if not contour.any():
        return labelled.astype(np.float32)
    distance = distance_to_zero(np.logical_not(contour).view(np.uint8))
    return np.minimum(np.float32(1), distance / np.float32(radius)) * labelled


def contour_of(labels: LabelMap, *, ignore: int = IGNORE) -> Bool[np.ndarray, "H W"]:
    """Pixels with one of 4 neighbours of another class, on both sides of the border between the two.

    Unlabelled pixels and the border of the image make no contour.

    Examples
    --------
    >>> contour_of(np.array([[0, 0, 7, 255, 0]], np.uint8))
    array([[False,  True,  True, False, False]])
    """
    contour = np.zeros(labels.shape, bool)
    labelled = labels != ignore
    for one, other in (np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:]):
        differs = (labels[one] != labels[other]) & labelled[one] & labelled[other]
        contour[one] |= differs
        contour[other] |= differs
    return contour


def _check_radius(radius: float) -> None:
    if not radius > 0:
        raise ValueError(f"radius must be > 0 pixels, got {radius}")
