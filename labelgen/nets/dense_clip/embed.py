"""Images of any size to tokens: padding to whole patches, and positions on another grid."""

import torch
from jaxtyping import Float
from torch.nn import functional as F

__all__ = ["pad_to_multiple", "resample_positions"]


def pad_to_multiple(images: Float[torch.Tensor, "B C H W"], multiple: int) -> Float[torch.Tensor, "B C Hp Wp"]:
    """Pad at the right and at the bottom to whole patches, by reflection.

    An axis that is shorter than what it lacks repeats its last pixel instead: there is not enough to reflect.

    Examples
    --------
    >>> pad_to_multiple(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 4)[0, 0]
    tensor([[1., 2., 3., 2.],
            [1., 2., 3., 2.],
            [1., 2., 3., 2.],
            [1., 2., 3., 2.]])
    """
    height, width = images.shape[-2:]
    lacking_width, lacking_height = -width % multiple, -height % multiple
    if lacking_width:
        images = F.pad(images, (0, lacking_width, 0, 0), mode="reflect" if lacking_width < width else "replicate")
    if lacking_height:
        images = F.pad(images, (0, 0, 0, lacking_height), mode="reflect" if lacking_height < height else "replicate")
    return images


def resample_positions(
    positions: Float[torch.Tensor, "N C"], native: tuple[int, int], grid: tuple[int, int], *, prefix: int
) -> Float[torch.Tensor, "M C"]:
    """Positions of `prefix` tokens and of the patches of `native`, for the patches of `grid`.

    Bicubic to exactly `grid`, in float32, with antialiasing only when an axis shrinks. It is computed at every call:
    that costs a thousandth of a forward pass, and nothing kept can go stale or reach another model.

    Parameters
    ----------
    positions
        `prefix` rows, then one row per patch of `native`, row by row.
    native, grid
        `(h, w)` in patches.
    prefix
        How many rows stand for class and register tokens; they are kept.

    Returns
    -------
    torch.Tensor
        `positions` itself when the grid is the native one.

    Examples
    --------
    >>> positions = torch.arange(5.0)[:, None]
    >>> resample_positions(positions, (2, 2), (2, 2), prefix=1) is positions
    True
    >>> resample_positions(positions, (2, 2), (3, 4), prefix=1).shape
    torch.Size([13, 1])
    """
    if grid == native:
        return positions
    image = positions[prefix:].float().T.reshape(1, -1, *native)
    shrinks = grid[0] < native[0] or grid[1] < native[1]
    resized = F.interpolate(image, size=grid, mode="bicubic", align_corners=False, antialias=shrinks)
    return torch.cat([positions[:prefix], resized[0].flatten(1).T.to(positions.dtype)])
