"""Mean field of a dense CRF over two permutohedral lattices, pixels and classes at once."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from labelgen.geometry.compiled import compiled
from labelgen.refine.crew import Crew
from labelgen.refine.crf_unary import log_probabilities
from labelgen.refine.lanes import (
    LANES,
    add_scaled,
    exponential,
    greatest,
    largest,
    load,
    minus,
    plus,
    scaled,
    store,
    total,
)
from labelgen.refine.permutohedral import Band, Lattice

__all__ = ["LatticeKernel", "mean_field"]

COLOUR_CORNERS, PLACE_CORNERS = 6, 3
"""Vertices around a pixel in the lattice of places and colours, and in that of places; known to the compiler."""

RUN = 64
"""Pixels whose Q is kept for a moment: so few that they stay in the nearest cache."""

NO_CLASS = np.float32(-1e30)
"""Logit of the columns that fill up the classes to a multiple of eight: they get exactly 0."""


class LatticeKernel:
    """One kernel of the CRF during inference: its lattice and the values of the vertices, a row of classes for each.

    Parameters
    ----------
    lattice
        Where the pixels lie.
    weight
        Of the messages of this kernel.
    columns
        Classes, filled up to a multiple of eight.
    crew
        Threads to use.
    """

    def __init__(self, lattice: Lattice, weight: float, columns: int, crew: Crew) -> None:
        self.lattice, self.columns, self.crew = lattice, columns, crew
        self.scale = np.float32(weight * lattice.gain)
        places = len(lattice.vertex_of) * columns
        self.messages = np.zeros(places, np.float32)
        self.sums = np.empty(places, np.float32)
        self._values = np.zeros((lattice.num_vertices + 1) * columns, np.float32)
        self._blurred = np.zeros_like(self._values)

    def blur(self) -> None:
        """Turn the sums that bands made for their vertices into the messages that they get."""
        lattice, columns, run = self.lattice, self.columns, self.crew.run_ranges
        count = lattice.num_vertices
        values, blurred = self._values, self._blurred
        run(lambda a, b: _collect(self.sums, lattice.starts, lattice.places, self.scale, columns, a, b, values), count)
        for neighbours in lattice.neighbours[:-1]:
            run(lambda a, b, n=neighbours, v=values, w=blurred: _blur(v, n, columns, a, b, w), count)
            values, blurred = blurred, values
        last, vertex_of = lattice.neighbours[-1], lattice.vertex_of
        run(lambda a, b: _blur_to_places(values, last, vertex_of, columns, a, b, self.messages), len(vertex_of))

    def of_band(self, band: int, width: int) -> tuple[np.ndarray, ...]:
        """Vertices and weights of the pixels of a band, messages and sums of its vertices."""
        part: Band = self.lattice.bands[band]
        pixels = slice(part.first_row * width, part.last_row * width)
        values = slice(part.first_value * self.columns, part.last_value * self.columns)
        return self.lattice.vertices[pixels], self.lattice.weights[pixels], self.messages[values], self.sums[values]


def mean_field(
    probabilities: Float32[np.ndarray, "C H W"],
    lattices: tuple[Lattice, Lattice],
    weights: tuple[float, float],
    *,
    steps: int,
    crew: Crew,
) -> Float32[np.ndarray, "C H W"]:
    """`Q = softmax(-U + sum_m w_m Kt_m Q)`, `steps` times, from `Q = softmax(-U)`.

    In one pass over the pixels, messages are read from the vertices around each pixel, turned into its Q, and that is
    added to the vertices again for the next step: Q itself is never stored before the last step.

    Parameters
    ----------
    probabilities
        -U is their logarithm, see `labelgen.refine.crf_unary`.
    lattices, weights
        Of the two kernels, both lattices of an image of this size.

    Returns
    -------
    Float32[np.ndarray, "C H W"]
        Sums to 1 in each pixel; probabilities below 9e-27 are 0.
    """
    classes, height, width = probabilities.shape
    columns = -(-classes // LANES) * LANES
    first, second = (LatticeKernel(lat, w, columns, crew) for lat, w in zip(lattices, weights, strict=True))
    logits = np.empty(height * width * columns, np.float32)
    planes = probabilities.reshape(classes, -1)
    result = np.empty_like(planes)
    bands = [slice(band.first_row * width, band.last_row * width) for band in lattices[0].bands]

    def arrange(band: int) -> None:
        part = logits[bands[band].start * columns : bands[band].stop * columns]
        _interleave(log_probabilities(planes[:, bands[band]]), columns, part)

    def update(band: int) -> None:
        part = logits[bands[band].start * columns : bands[band].stop * columns]
        _update(part, columns, first.of_band(band, width), second.of_band(band, width))

    def finish(band: int) -> None:
        part = logits[bands[band].start * columns : bands[band].stop * columns]
        _finish(part, columns, first.of_band(band, width), second.of_band(band, width), result, bands[band].start)

    def each_band(work) -> None:
        crew.run([lambda band=band: work(band) for band in range(len(bands))])

    each_band(arrange)
    for _ in range(steps):
        each_band(update)
        first.blur()
        second.blur()
    each_band(finish)
    return result.reshape(probabilities.shape)


@compiled
@no_type_check
def _interleave(planes, columns, logits):
    """Turn planes of classes into rows of classes, one for each pixel."""
    classes, count = planes.shape
    logits[:] = NO_CLASS
    for start in range(0, count, RUN):
        for column in range(classes):
            for pixel in range(start, min(start + RUN, count)):
                logits[pixel * columns + column] = planes[column, pixel]


@compiled
@no_type_check
def _posterior(logits, columns, start, stop, first, second, rows, tops):
    """Write Q of the pixels `start` to `stop` into `rows`, loop by loop, so that pixels do not wait for each other."""
    first_vertices, first_weights, first_messages, _ = first
    second_vertices, second_weights, second_messages, _ = second
    for pixel in range(start, stop):
        top = load(logits, pixel * columns)
        for column in range(0, columns, LANES):
            values = load(logits, pixel * columns + column)
            for corner in range(COLOUR_CORNERS):
                place = first_vertices[pixel, corner] * columns + column
                values = add_scaled(values, first_weights[pixel, corner], load(first_messages, place))
            for corner in range(PLACE_CORNERS):
                place = second_vertices[pixel, corner] * columns + column
                values = add_scaled(values, second_weights[pixel, corner], load(second_messages, place))
            store(rows, (pixel - start) * columns + column, values)
            top = values if column == 0 else greatest(top, values)
        tops[pixel - start] = largest(top)
    for row in range(stop - start):
        for column in range(row * columns, (row + 1) * columns, LANES):
            store(rows, column, exponential(minus(load(rows, column), tops[row])))
    for row in range(stop - start):
        sums = load(rows, row * columns)
        for column in range(row * columns + LANES, (row + 1) * columns, LANES):
            sums = plus(sums, load(rows, column))
        factor = np.float32(1) / total(sums)
        for column in range(row * columns, (row + 1) * columns, LANES):
            store(rows, column, scaled(load(rows, column), factor))


@compiled
@no_type_check
def _update(logits, columns, first, second):
    """One step for the pixels of a band: Q of each from the messages, added to the sums of its vertices."""
    first_vertices, first_weights, _, first_sums = first
    second_vertices, second_weights, _, second_sums = second
    first_sums[:] = 0
    second_sums[:] = 0
    rows, tops = np.empty(RUN * columns, np.float32), np.empty(RUN, np.float32)
    for start in range(0, first_vertices.shape[0], RUN):
        stop = min(start + RUN, first_vertices.shape[0])
        _posterior(logits, columns, start, stop, first, second, rows, tops)
        for pixel in range(start, stop):
            for column in range(0, columns, LANES):
                values = load(rows, (pixel - start) * columns + column)
                for corner in range(COLOUR_CORNERS):
                    place = first_vertices[pixel, corner] * columns + column
                    added = add_scaled(load(first_sums, place), first_weights[pixel, corner], values)
                    store(first_sums, place, added)
                for corner in range(PLACE_CORNERS):
                    place = second_vertices[pixel, corner] * columns + column
                    added = add_scaled(load(second_sums, place), second_weights[pixel, corner], values)
                    store(second_sums, place, added)


@compiled
@no_type_check
def _finish(logits, columns, first, second, result, begin):
    """Q of the pixels of a band, as planes of classes."""
    rows, tops = np.empty(RUN * columns, np.float32), np.empty(RUN, np.float32)
    count = first[0].shape[0]
    for start in range(0, count, RUN):
        stop = min(start + RUN, count)
        _posterior(logits, columns, start, stop, first, second, rows, tops)
        for column in range(result.shape[0]):
            for pixel in range(start, stop):
                result[column, begin + pixel] = rows[(pixel - start) * columns + column]


@compiled
@no_type_check
def _collect(sums, starts, places, scale, columns, first, last, values):
    """Add up what the bands have for each vertex, in the order of the bands."""
    for vertex in range(first, last):
        for column in range(0, columns, LANES):
            row = scaled(load(sums, places[starts[vertex]] * columns + column), scale)
            for place in range(starts[vertex] + 1, starts[vertex + 1]):
                row = add_scaled(row, scale, load(sums, places[place] * columns + column))
            store(values, vertex * columns + column, row)


@compiled
@no_type_check
def _blur(values, neighbours, columns, first, last, blurred):
    """Half of each neighbour along one axis, added to a vertex (Adams 2010, p. 7: [1 2 1], up to the scale)."""
    half = np.float32(0.5)
    for vertex in range(first, last):
        before, after = neighbours[vertex, 0] * columns, neighbours[vertex, 1] * columns
        for column in range(0, columns, LANES):
            row = add_scaled(load(values, vertex * columns + column), half, load(values, before + column))
            store(blurred, vertex * columns + column, add_scaled(row, half, load(values, after + column)))


@compiled
@no_type_check
def _blur_to_places(values, neighbours, vertex_of, columns, first, last, messages):
    """The same along the last axis, with the result at every place of the bands that a vertex has."""
    half = np.float32(0.5)
    for place in range(first, last):
        vertex = vertex_of[place]
        before, after = neighbours[vertex, 0] * columns, neighbours[vertex, 1] * columns
        for column in range(0, columns, LANES):
            row = add_scaled(load(values, vertex * columns + column), half, load(values, before + column))
            store(messages, place * columns + column, add_scaled(row, half, load(values, after + column)))
