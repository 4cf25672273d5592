"""What labelled regions look like as a whole, as a cross-fit found it: the scores `region` and `combined`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from labelgen.errors import DataError

__all__ = ["Region", "combined_score", "image_margin", "read_regions"]

MAD_OF_NORMAL = 0.6745  # median absolute deviation of the standard normal distribution


@dataclass(frozen=True)
class Region:
    """All pixels of one class in one image.

    Parameters
    ----------
    class_id
        The class that they are labelled with.
    other
        The class that they look most like besides it.
    margin
        How much more they look like the given class, in about [-1, 1]; negative where they look more like the other.
    """

    class_id: int
    other: int
    margin: float


def read_regions(
    details: Mapping[str, Any], lookup: Int64[np.ndarray, "V"] | None, where: str
) -> tuple[Region, ...] | None:
    """Regions out of the details of a record of predictions; None where they do not speak of regions.

    Parameters
    ----------
    lookup
        Ids of the run of each class id of the predictions; None where they are the same.

    Raises
    ------
    DataError
        When the details are malformed.

    Examples
    --------
    >>> read_regions({"regions": [{"class": 8, "other": 12, "margin": -0.25}]}, None, "a")
    (Region(class_id=8, other=12, margin=-0.25),)
    """
    entries = details.get("regions")
    if entries is None:
        return None
    try:
        ids = [[int(entry[key]) for key in ("class", "other")] for entry in entries]
        if lookup is not None:
            ids = [[int(lookup[class_id]) for class_id in pair] for pair in ids]
        return tuple(Region(*pair, float(entry["margin"])) for pair, entry in zip(ids, entries, strict=True))
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"regions of the predictions are malformed, of {where} ({error})", hint="segprobe crossfit makes them anew"
        ) from error


def image_margin(regions: Sequence[Region]) -> float:
    """Mean margin of the regions of an image; nan without any.

    Examples
    --------
    >>> image_margin([Region(8, 12, -0.25), Region(15, 8, 0.75)])
    0.25
    """
    return float(np.mean([region.margin for region in regions])) if regions else float("nan")


def combined_score(overlap: Float64[np.ndarray, " N"], region: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Sum of two scores of which low is suspicious, each in robust standard deviations from its median.

    The logarithm of the relative overlap sees outlines that are wrong, the margin of regions classes that are. An image
    without regions has the median of its margin, so that its overlap alone counts; one without overlap is nan.

    Examples
    --------
    >>> combined_score(np.array([1.0, 1.0, np.exp(-1), np.e]), np.array([0.5, -0.5, 0.0, np.nan])).round(2).tolist()
    [0.67, -0.67, -1.35, 1.35]
    """
    logs = np.log(np.maximum(overlap, np.finfo(float).tiny))
    return _standardised(logs) + np.nan_to_num(_standardised(region))


def _standardised(values: np.ndarray) -> np.ndarray:
    """Distance from the median over the robust standard deviation; the plain one where half of the values are equal."""
    known = values[np.isfinite(values)]
    if not known.size:
        return np.full_like(values, np.nan)
    middle = np.median(known)
    spread = np.median(np.abs(known - middle)) / MAD_OF_NORMAL or known.std()
    return (values - middle) / (spread or 1.0)
