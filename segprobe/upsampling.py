"""From token probabilities to pixels: bilinear, or guided by the colours of the image so that edges fall on edges."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from labelgen.errors import ConfigError
from labelgen.nets.geometry import Geometry
from labelgen.settings import settings_from_text, split_setting
from segprobe.sampling import bilinear_matrix

__all__ = ["BILINEAR", "GuidedSettings", "guided_upsample", "joint_bilateral", "parse_upsample", "token_colours"]

BILINEAR = "bilinear"
GUIDED = "guided"
AT_ONCE = 2**22  # weights held in memory together, 16 MB


@dataclass(frozen=True)
class GuidedSettings:
    """Joint bilateral up-sampling.

    Parameters
    ----------
    radius
        Tokens on each side of the nearest one that a pixel reads.
    sigma_space
        Standard deviation of the weight by distance, in tokens.
    sigma_colour
        Standard deviation of the weight by difference of colour, RGB in [0, 1].
    """

    radius: int = 2
    sigma_space: float = 1.0
    sigma_colour: float = 0.1

    def __post_init__(self) -> None:
        if self.radius < 1:
            raise ConfigError(f"radius must be >= 1 tokens, got {self.radius}")
        for name in ("sigma_space", "sigma_colour"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")


def parse_upsample(text: str) -> GuidedSettings | None:
    """Read `bilinear`, which is None, or `guided[,setting=value...]`.

    Raises
    ------
    ConfigError
        For anything else.

    Examples
    --------
    >>> parse_upsample("guided,radius=3").radius
    3
    """
    name, *rest = (part.strip() for part in text.split(","))
    if name == BILINEAR and not rest:
        return None
    if name != GUIDED:
        known = ", ".join(f"{field.name}={field.default}" for field in fields(GuidedSettings))
        raise ConfigError(
            f"upsample must be {BILINEAR} or {GUIDED}, got {text!r}", hint=f"settings of {GUIDED}: {known}"
        )
    return settings_from_text(GuidedSettings, dict(split_setting(part) for part in rest), of=f"upsample {GUIDED}")


def guided_upsample(
    values: Float32[Tensor, "h w C"],
    image: UInt8[np.ndarray, "H W 3"],
    geometry: Geometry,
    settings: GuidedSettings = GuidedSettings(),
) -> Float32[Tensor, "H W C"]:
    """Up-sample token values to the pixels of their image by `joint_bilateral`.

    Parameters
    ----------
    geometry
        Of the view that the tokens are of; resize, padding and mirroring are undone.
    """
    rows, cols = _positions(geometry)
    guide = torch.from_numpy(image.astype(np.float32) / 255).to(values.device)
    colours, seen = token_colours(guide, geometry)
    return joint_bilateral(values, colours, seen, guide, torch.from_numpy(rows), torch.from_numpy(cols), settings)


def token_colours(
    image: Float32[Tensor, "H W 3"], geometry: Geometry
) -> tuple[Float32[Tensor, "h w 3"], Bool[Tensor, "h w"]]:
    """Mean colour of the pixels that read a token, by the weights with which they read it bilinearly.

    Returns
    -------
    tuple
        Colours, and whether any pixel reads the token: those in the padding are read by none.
    """
    rows, cols = _positions(geometry)
    down = torch.from_numpy(bilinear_matrix(rows, geometry.grid[0])).to(image)  # (H, h)
    across = torch.from_numpy(bilinear_matrix(cols, geometry.grid[1])).to(image)
    sums = torch.einsum("yi,yxc,xj->ijc", down, image, across)
    mass = down.sum(0)[:, None] * across.sum(0)[None]
    return sums / mass.clamp_min(1e-12)[..., None], mass > 0


def joint_bilateral(
    values: Float32[Tensor, "h w C"],
    colours: Float32[Tensor, "h w 3"],
    seen: Bool[Tensor, "h w"],
    image: Float32[Tensor, "H W 3"],
    rows: Float[Tensor, "H"],
    cols: Float[Tensor, "W"],
    settings: GuidedSettings,
) -> Float32[Tensor, "H W C"]:
    """Average the tokens around each pixel, near ones and those of its colour first.

    With token position t, pixel position p in tokens, token colour c_t and pixel colour I_p,

    ``out_p = sum_t w_pt values_t / sum_t w_pt,  w_pt = exp(-|p - t|^2 / 2 s^2 - |I_p - c_t|^2 / 2 r^2)``

    over the tokens t within `radius` rows and columns of the one nearest to p. Weights are normalised as a softmax of
    their exponents, so that a pixel unlike all tokens still has a mean. Probabilities stay probabilities.

    Parameters
    ----------
    seen
        Tokens that take part.
    rows, cols
        Position of every row and column of pixels in the grid, in tokens.

    References
    ----------
    .. [1] Kopf et al., "Joint Bilateral Upsampling", SIGGRAPH 2007, equation 4. There the guide is sampled at t; here
       c_t is the mean colour around t, since a token describes an area.
    """
    rows, cols = rows.to(values), cols.to(values)
    window = (2 * settings.radius + 1) ** 2
    strip = max(1, AT_ONCE // (window * len(cols)))
    parts = [
        _strip(values, colours, seen, image[first : first + strip], rows[first : first + strip], cols, settings)
        for first in range(0, len(rows), strip)
    ]
    return torch.cat(parts)


def _strip(
    values: Tensor, colours: Tensor, seen: Tensor, image: Tensor, rows: Tensor, cols: Tensor, settings: GuidedSettings
) -> Tensor:
    height, width = seen.shape
    reach = range(-settings.radius, settings.radius + 1)
    down = (rows + 0.5).floor().long().clamp(0, height - 1)
    across = (cols + 0.5).floor().long().clamp(0, width - 1)
    exponents, places = [], []
    for row_step in reach:
        for col_step in reach:
            at_row, at_col = down + row_step, across + col_step
            inside = ((at_row >= 0) & (at_row < height))[:, None] & ((at_col >= 0) & (at_col < width))[None]
            i, j = at_row.clamp(0, height - 1)[:, None], at_col.clamp(0, width - 1)[None]
            space = (rows[:, None] - at_row[:, None]) ** 2 + (cols[None] - at_col[None]) ** 2
            colour = (image - colours[i, j]).square().sum(-1)
            exponent = -space / (2 * settings.sigma_space**2) - colour / (2 * settings.sigma_colour**2)
            exponents.append(exponent.masked_fill(~(inside & seen[i, j]), -torch.inf))
            places.append((i, j))
    total = values.new_zeros(len(rows), len(cols), values.shape[-1])
    for weight, (i, j) in zip(torch.stack(exponents).softmax(0), places, strict=True):
        total.addcmul_(weight[..., None], values[i, j])
    return total


def _positions(geometry: Geometry) -> tuple[Float[np.ndarray, "H"], Float[np.ndarray, "W"]]:
    """Position of each row and column of pixels in the grid, in tokens."""
    height, width = geometry.size
    rows, _ = geometry.token_coordinates(np.arange(float(height)), np.zeros(height))
    _, cols = geometry.token_coordinates(np.zeros(width), np.arange(float(width)))
    return rows, cols
