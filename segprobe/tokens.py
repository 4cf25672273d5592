"""What frozen tokens know before any label: their clusters and principal components, drawn beside the image.

Clusters and components are computed over all images together, so that a colour means the same in each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import map_coordinates

from labelgen.errors import ConfigError
from labelgen.nets.backbones import Backbone
from labelgen.nets.geometry import Geometry

__all__ = ["Panels", "contact_sheet", "kmeans", "principal_colours", "read_at_pixels", "token_panels"]

RESTARTS = 4  # k-means keeps the best of so many starts
STEPS = 50  # of one k-means run at most
CLIPPED = 2.0  # per cent of tokens at each end that share the darkest and the brightest colour

PALETTE = np.array(
    [
        *((0x4C, 0x78, 0xA8), (0xF5, 0x85, 0x18), (0x54, 0xA2, 0x4B), (0xE4, 0x57, 0x56), (0x72, 0xB7, 0xB2)),
        *((0xEE, 0xCA, 0x3B), (0xB2, 0x79, 0xA2), (0xFF, 0x9D, 0xA6), (0x9D, 0x75, 0x5D), (0xBA, 0xB0, 0xAC)),
        *((0x1F, 0x3B, 0x73), (0x8C, 0x56, 0x00), (0x1E, 0x5C, 0x2E), (0x7A, 0x1F, 0x2B), (0x2B, 0x6E, 0x6A)),
        *((0xA8, 0x8B, 0x00), (0x5C, 0x2E, 0x5C), (0xB4, 0x4A, 0x5C), (0x4A, 0x35, 0x28), (0x50, 0x50, 0x50)),
    ],
    np.uint8,
)
"""Colours of clusters, told apart at a glance."""

PANEL_HEIGHT = 240  # pixels of one picture in the sheet
GAP = 10
TITLE = 30
WHITE, INK = (255, 255, 255), (40, 40, 40)


@dataclass(frozen=True)
class Panels:
    """Three pictures of one image, all of its size: the image, its clusters, its principal components."""

    image: UInt8[np.ndarray, "H W 3"]
    clusters: UInt8[np.ndarray, "H W 3"]
    components: UInt8[np.ndarray, "H W 3"]


def token_panels(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], backbone: Backbone, *, k: int, rng: np.random.Generator
) -> list[Panels]:
    """Draw the tokens of some images.

    Before clustering, tokens are centred image by image, since what all tokens of an image share (the kind of scene)
    would else decide the clusters, and scaled to length 1, so that likeness is the cosine that these models are trained
    with. A pixel takes the cluster whose bilinearly interpolated similarity is the greatest there.

    Parameters
    ----------
    k
        Number of clusters over all images, 2 to 20.

    Raises
    ------
    ConfigError
        When k is out of range, or there are fewer tokens.
    """
    if not 2 <= k <= len(PALETTE):
        raise ConfigError(f"k must lie in 2 to {len(PALETTE)} clusters, got {k}")
    grids, geometries = zip(*(_tokens_of(image, backbone) for image in images), strict=True)
    by_image = [grid.reshape(-1, grid.shape[-1]) for grid in grids]
    rows = np.concatenate(by_image)
    directions = _unit(np.concatenate([tokens - tokens.mean(axis=0) for tokens in by_image]))
    centroids = kmeans(directions, k, rng=rng)
    colours = principal_colours(rows)
    panels, start = [], 0
    for image, grid, geometry in zip(images, grids, geometries, strict=True):
        shape, stop = grid.shape[:2], start + grid.shape[0] * grid.shape[1]
        likeness = (directions[start:stop] @ centroids.T).reshape(*shape, k)
        clusters = read_at_pixels(likeness, geometry).argmax(axis=-1)
        components = read_at_pixels(colours[start:stop].reshape(*shape, 3), geometry)
        panels.append(Panels(image, PALETTE[clusters], np.rint(255 * components).astype(np.uint8)))
        start = stop
    return panels


def kmeans(points: Float32[np.ndarray, "N D"], k: int, *, rng: np.random.Generator) -> Float32[np.ndarray, "k D"]:
    """Centroids of the best of a few k-means runs, each started by k-means++; the largest cluster comes first.

    Raises
    ------
    ConfigError
        When there are fewer different points than clusters.

    References
    ----------
    .. [1] Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.

    Examples
    --------
    >>> points = np.array([[0.0], [0.1], [0.2], [9.0], [9.2]], np.float32)
    >>> kmeans(points, 2, rng=np.random.default_rng(0)).round(2)
    array([[0.1],
           [9.1]], dtype=float32)
    """
    runs = [_kmeans_once(points, k, rng) for _ in range(RESTARTS)]
    _, centroids, labels = min(runs, key=lambda run: run[0])
    return centroids[np.argsort(-np.bincount(labels, minlength=k), kind="stable")]


def _kmeans_once(points: np.ndarray, k: int, rng: np.random.Generator) -> tuple[float, np.ndarray, np.ndarray]:
    centroids = _spread_starts(points, k, rng)
    labels = np.full(len(points), -1)
    for _ in range(STEPS):
        distances = _squared_distances(points, centroids)
        before, labels = labels, distances.argmin(axis=1)
        if (labels == before).all():
            break
        counts = np.bincount(labels, minlength=k)
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, points)
        filled = counts > 0
        centroids[filled] = sums[filled] / counts[filled, None]
    return float(distances.min(axis=1).sum()), centroids, labels


def _spread_starts(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    chosen = [points[rng.integers(len(points))]]
    nearest = np.full(len(points), np.inf)
    for _ in range(k - 1):
        nearest = np.minimum(nearest, _squared_distances(points, chosen[-1][None])[:, 0])
        total = nearest.sum(dtype=np.float64)
        if total <= 0:
            raise ConfigError(f"{k} clusters need as many different tokens, got {len(chosen)}", hint="use a smaller -k")
        chosen.append(points[rng.choice(len(points), p=nearest / total)])
    return np.array(chosen, points.dtype)


def _squared_distances(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    cross = points @ centroids.T
    squares = np.square(points).sum(axis=1)[:, None] + np.square(centroids).sum(axis=1)
    return np.maximum(squares - 2 * cross, 0).astype(np.float64)


def principal_colours(rows: Float32[np.ndarray, "N D"]) -> Float64[np.ndarray, "N 3"]:
    """First three principal components as red, green and blue in [0, 1].

    Each component is stretched between its 2nd and 98th percentile; its largest entry is made positive.

    Examples
    --------
    >>> rows = np.array([[0, 0, 0, 0], [9, 0, 0, 0], [0, 3, 0, 0], [0, 0, 1, 0]], np.float32)
    >>> principal_colours(rows).shape
    (4, 3)
    """
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(3)])
    values = centred @ axes
    low, high = np.percentile(values, [CLIPPED, 100 - CLIPPED], axis=0)
    return np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)


def read_at_pixels(grid: Float[np.ndarray, "h w C"], geometry: Geometry) -> Float[np.ndarray, "H W C"]:
    """Read token values bilinearly at every pixel of the original image.

    Examples
    --------
    >>> geometry = Geometry(size=(1, 4), resized=(1, 4), pad=(0, 0), grid=(1, 2), stride=2)
    >>> read_at_pixels(np.array([[[0.0], [1.0]]]), geometry)[0, :, 0]
    array([0.  , 0.25, 0.75, 1.  ])
    """
    height, width = geometry.size
    u, _ = geometry.token_coordinates(np.arange(float(height)), np.zeros(height))
    _, v = geometry.token_coordinates(np.zeros(width), np.arange(float(width)))
    places = np.meshgrid(u, v, indexing="ij")
    channels = [map_coordinates(channel, places, order=1, mode="nearest") for channel in np.moveaxis(grid, -1, 0)]
    return np.stack(channels, axis=-1)


def contact_sheet(panels: Sequence[Panels], *, title: str) -> UInt8[np.ndarray, "H W 3"]:
    """One row an image: the image, its clusters, its components; all at one height, columns aligned."""
    rows = [[_at_height(picture) for picture in (p.image, p.clusters, p.components)] for p in panels]
    width = max(row[0].width for row in rows)
    sheet = Image.new("RGB", (4 * GAP + 3 * width, 2 * TITLE + len(rows) * (PANEL_HEIGHT + GAP)), WHITE)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, TITLE // 2), title, fill=INK, font=ImageFont.load_default(16), anchor="lm")
    for column, name in enumerate(("image", "k-means of the tokens", "principal components")):
        middle = GAP + column * (width + GAP) + width // 2
        draw.text((middle, TITLE + TITLE // 2), name, fill=INK, font=ImageFont.load_default(14), anchor="mm")
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            left = GAP + column * (width + GAP) + (width - picture.width) // 2
            sheet.paste(picture, (left, 2 * TITLE + number * (PANEL_HEIGHT + GAP)))
    return np.asarray(sheet)


def _at_height(picture: UInt8[np.ndarray, "H W 3"]) -> Image.Image:
    height, width = picture.shape[:2]
    scaled = max(1, round(width * PANEL_HEIGHT / height))
    return Image.fromarray(picture).resize((scaled, PANEL_HEIGHT), Image.Resampling.LANCZOS)


def _tokens_of(image: UInt8[np.ndarray, "H W 3"], backbone: Backbone) -> tuple[np.ndarray, Geometry]:
    picture, geometry = backbone.prepare(image)
    return backbone.tokens(picture[None])[0].cpu().numpy(), geometry


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
