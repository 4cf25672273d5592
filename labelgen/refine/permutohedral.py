"""The permutohedral lattice of an image: Gaussian filters over place and colour in time that grows with the pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from labelgen.errors import ConfigError
from labelgen.geometry.compiled import compiled
from labelgen.refine.crew import Crew
from labelgen.refine.simplices import enclose_rows, link_along, merge_keys

__all__ = ["Band", "Lattice", "bands_of", "image_lattice", "place_lattice"]

BAND_PIXELS = 24576
"""Pixels of a band: a piece of work for one thread, whose vertices stay in the cache of its core."""

CACHED_SIZES = 4
"""Image sizes whose lattice over places is kept; some 10 MB each at 375 x 500."""

TINY = 1e-20
"""Added to the row sums of the kernel, as densecrf does it."""


@dataclass(frozen=True)
class Band:
    """Some rows of the image, and where the values of their vertices stand among those of all bands.

    Parameters
    ----------
    first_row, last_row
        The rows `range(first_row, last_row)`.
    first_value, last_value
        The places `range(first_value, last_value)`, one for each vertex around a pixel of the band.
    """

    first_row: int
    last_row: int
    first_value: int
    last_value: int


@dataclass(frozen=True)
class Lattice:
    """Pixels, the vertices around each of them, and the neighbours of each vertex.

    Each band of rows numbers its vertices by itself, so that threads that add to them never meet; `vertex_of` says
    which are one and the same. What is computed depends on the size of the image, never on the number of threads.

    Parameters
    ----------
    bands
        Of the image, from top to bottom.
    vertices, weights
        For each pixel its d + 1 vertices, as numbers in its band, and the barycentric weight of each, divided by the
        square root of the pixel's row sum of the kernel.
    vertex_of
        The vertex of each place of the bands' values, R in all.
    starts, places
        The places of vertex v are `places[starts[v] : starts[v + 1]]`.
    neighbours
        Vertex before and after along each axis; M, which stands for none, is always 0.

    References
    ----------
    .. [1] Adams, Baek & Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Computer Graphics
       Forum 29(2), 2010.
    .. [2] Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS
       2011, arXiv 1210.5644, and the densecrf code, whose lattice this one equals point for point. (densecrf fills up
       images to a multiple of four pixels with black ones at the origin, which we leave out.)
    """

    bands: tuple[Band, ...]
    vertices: Int32[np.ndarray, "N s"]
    weights: Float32[np.ndarray, "N s"]
    vertex_of: Int32[np.ndarray, "R"]
    starts: Int32[np.ndarray, "M1"]
    places: Int32[np.ndarray, "R"]
    neighbours: Int32[np.ndarray, "s M 2"]

    @property
    def num_vertices(self) -> int:
        """Number of different vertices, M."""
        return self.neighbours.shape[1]

    @property
    def gain(self) -> float:
        """What a filtered value must be multiplied by (Adams 2010; it has no say where rows are normalised after)."""
        return 1 / (1 + 2.0 ** (1 - self.vertices.shape[1]))


def bands_of(height: int, width: int) -> list[tuple[int, int]]:
    """Bands of about equally many rows, first and last row of each.

    Examples
    --------
    >>> bands_of(375, 200)
    [(0, 125), (125, 250), (250, 375)]
    """
    count = max(1, min(height, height * width // BAND_PIXELS))
    edges = [height * band // count for band in range(count + 1)]
    return list(pairwise(edges))


def image_lattice(image: UInt8[np.ndarray, "H W 3"], *, sxy: float, srgb: float, crew: Crew | None = None) -> Lattice:
    """The lattice of places divided by `sxy` and colours divided by `srgb`.

    Raises
    ------
    ConfigError
        When the deviations are so small for this image that vertices could not be numbered.
    """
    return _lattice(np.ascontiguousarray(image), sxy, srgb, crew or Crew())


@lru_cache(maxsize=CACHED_SIZES)
def place_lattice(height: int, width: int, *, sxy: float) -> Lattice:
    """The lattice of places divided by `sxy`, the same for all images of a size."""
    return _lattice(np.empty((height, width, 0), np.uint8), sxy, 1.0, Crew())


def _lattice(image: np.ndarray, sxy: float, srgb: float, crew: Crew) -> Lattice:
    height, width, colours = image.shape
    size = 3 + colours
    columns, rows, levels = _scaled_features(image.shape, sxy, srgb)
    strides = _strides(columns, rows, levels, image)
    vertices = np.empty((height * width, size), np.int32)
    weights = np.empty((height * width, size), np.float32)
    parts = bands_of(height, width)
    keys: list[np.ndarray] = [np.empty(0, np.int64)] * len(parts)

    def enclose(band: int) -> None:
        keys[band] = enclose_rows(image, columns, rows, levels, *parts[band], strides, vertices, weights)

    crew.run([lambda band=band: enclose(band) for band in range(len(parts))])
    edges = np.cumsum([0, *map(len, keys)]).tolist()
    bands = tuple(Band(*rows, a, b) for rows, (a, b) in zip(parts, pairwise(edges), strict=True))
    vertex_of = np.empty(edges[-1], np.int32)
    merged = merge_keys(np.concatenate(keys), vertex_of)
    neighbours = np.empty((size, len(merged), 2), np.int32)
    order = np.argsort(merged).astype(np.int32)
    ordered, steps = merged[order], (strides[-1] - size * strides[:-1]).tolist()
    crew.run([lambda axis=axis: link_along(ordered, steps[axis], neighbours[axis]) for axis in range(size)])
    if colours:
        # in the order of keys the neighbours of vertices that follow each other follow each other too, on every axis
        vertex_of = _inverse(order)[vertex_of]
    else:
        # of places alone, the order of the pixels is as good, and is that of the bands too
        neighbours[:, order] = np.append(order, np.int32(len(order)))[neighbours]
    starts = np.zeros(len(merged) + 1, np.int32)
    places = np.empty(len(vertex_of), np.int32)
    _places_of_vertices(vertex_of, starts, places)
    lattice = Lattice(bands, vertices, weights, vertex_of, starts, places, neighbours)
    _normalise(lattice, width, crew)
    return lattice


def _inverse(order: np.ndarray) -> np.ndarray:
    """The place of each number in a permutation."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order), dtype=order.dtype)
    return places


def _scaled_features(shape: tuple[int, ...], sxy: float, srgb: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of each column, each row, and each level of each colour, times the scale of their axis, in float32."""
    axes = 2 + shape[2]
    deviation = float(np.float32(np.sqrt(2 / 3) * (axes + 1)))  # of the blur, in steps of the lattice (Adams, p. 6)
    scales = np.array([deviation / np.sqrt((axis + 1) * (axis + 2)) for axis in range(axes)], np.float32)
    columns = np.arange(shape[1], dtype=np.float32) / np.float32(sxy) * scales[0]
    rows = np.arange(shape[0], dtype=np.float32) / np.float32(sxy) * scales[1]
    levels = np.arange(256, dtype=np.float32) / np.float32(srgb) * scales[2:, None]
    return columns, rows, levels


def _strides(columns: np.ndarray, rows: np.ndarray, levels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Strides that give every vertex and its neighbours keys of their own, a 0 for the last coordinate, their sum."""
    limits = [(0.0, float(columns[-1])), (0.0, float(rows[-1]))]
    for plane, level in zip(np.moveaxis(image, 2, 0), levels, strict=True):
        limits.append((float(level[plane.min()]), float(level[plane.max()])))
    low, high = np.array(limits).T
    size = len(limits) + 1
    strides, stride = [], 1
    for axis in range(size - 1):
        before = axis * (limits[axis - 1][1] - limits[axis - 1][0]) if axis else 0.0
        extent = float((high - low)[axis:].sum() + before)
        strides.append(stride)
        stride *= int(extent) + 8 * size  # a vertex lies less than 2 (d + 1) away, its neighbours d + 1 further
    if stride >= 2**62:
        raise ConfigError(
            f"deviations of the CRF are too small for an image of {image.shape[0]} x {image.shape[1]} pixels",
            hint="sxy and srgb of some pixels and levels are usual, such as 80 and 13",
        )
    return np.array([*strides, 0, sum(strides)], np.int64)


@compiled
@no_type_check
def _places_of_vertices(vertex_of, starts, places):
    """Sort places by vertex; equal ones keep their order."""
    for vertex in vertex_of:
        starts[vertex + 1] += 1
    for vertex in range(starts.size - 1):
        starts[vertex + 1] += starts[vertex]
    following = starts.copy()
    for place in range(vertex_of.size):
        places[following[vertex_of[place]]] = place
        following[vertex_of[place]] += 1


def _normalise(lattice: Lattice, width: int, crew: Crew) -> None:
    """Divide the weights of each pixel by the root of its row sum, which is what the lattice makes of ones."""
    local = np.zeros(len(lattice.vertex_of), np.float32)
    _for_bands(_add_weights, lattice, width, local, crew)
    values = np.zeros(lattice.num_vertices + 1, np.float32)
    np.add.at(values, lattice.vertex_of, local)
    blurred = np.zeros_like(values)
    for neighbours in lattice.neighbours:
        crew.run_ranges(lambda a, b, n=neighbours: _blur_one(values, blurred, n, a, b), lattice.num_vertices)  # noqa: B023
        values, blurred = blurred, values
    local = values[lattice.vertex_of] * np.float32(lattice.gain)
    _for_bands(_divide_weights, lattice, width, local, crew)


def _for_bands(kernel: Callable, lattice: Lattice, width: int, local: np.ndarray, crew: Crew) -> None:
    def work(band: Band) -> None:
        pixels = slice(band.first_row * width, band.last_row * width)
        kernel(lattice.vertices[pixels], lattice.weights[pixels], local[band.first_value : band.last_value])

    crew.run([lambda band=band: work(band) for band in lattice.bands])


@compiled
@no_type_check
def _add_weights(vertices, weights, sums):
    for pixel in range(vertices.shape[0]):
        for corner in range(vertices.shape[1]):
            sums[vertices[pixel, corner]] += weights[pixel, corner]


@compiled
@no_type_check
def _blur_one(values, blurred, neighbours, first, last):
    for vertex in range(first, last):
        both = values[neighbours[vertex, 0]] + values[neighbours[vertex, 1]]
        blurred[vertex] = values[vertex] + np.float32(0.5) * both


@compiled
@no_type_check
def _divide_weights(vertices, weights, values):
    for pixel in range(vertices.shape[0]):
        row_sum = np.float32(0)
        for corner in range(vertices.shape[1]):
            row_sum += weights[pixel, corner] * values[vertices[pixel, corner]]
        factor = np.float32(1 / np.sqrt(np.float64(row_sum) + TINY))
        for corner in range(vertices.shape[1]):
            weights[pixel, corner] *= factor
