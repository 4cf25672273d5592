"""Which windows cover an image."""

from labelgen.errors import ConfigError

__all__ = ["axis_windows", "window_boxes"]


def axis_windows(length: int, *, crop: int, stride: int) -> tuple[tuple[int, int], ...]:
    """Windows along one axis as (start, end), the end exclusive.

    There are `ceil(max(length - crop, 0) / stride) + 1` of them, `stride` apart, each `min(crop, length)` long; the
    last one is shifted inward so that it ends where the axis does.

    Parameters
    ----------
    length
        Pixels of the axis, >= 1.
    crop
        Length of a window in pixels; 0 for the whole axis.
    stride
        Pixels from window to window; not more than `crop`, since pixels between windows would be seen by none.

    Raises
    ------
    ConfigError
        When a number is out of range.

    Examples
    --------
    >>> axis_windows(500, crop=224, stride=112)
    ((0, 224), (112, 336), (224, 448), (276, 500))
    >>> axis_windows(100, crop=224, stride=112)
    ((0, 100),)
    """
    if length < 1:
        raise ConfigError(f"an axis must have at least 1 pixel, got {length}")
    if crop == 0:
        return ((0, length),)
    if not 1 <= stride <= crop:
        raise ConfigError(
            f"stride must lie in [1, crop] pixels, got stride {stride} and crop {crop}",
            hint="half the crop is usual; crop 0 takes the whole image at once",
        )
    count = -(-max(length - crop, 0) // stride) + 1
    ends = [min(number * stride + crop, length) for number in range(count)]
    return tuple((max(end - crop, 0), end) for end in ends)


def window_boxes(size: tuple[int, int], *, crop: int, stride: int) -> tuple[tuple[int, int, int, int], ...]:
    """Windows of an image as (top, left, bottom, right), the last two exclusive, row by row.

    Examples
    --------
    >>> window_boxes((2, 4), crop=2, stride=2)
    ((0, 0, 2, 2), (0, 2, 2, 4))
    """
    rows, cols = (axis_windows(length, crop=crop, stride=stride) for length in size)
    return tuple((top, left, bottom, right) for top, bottom in rows for left, right in cols)
