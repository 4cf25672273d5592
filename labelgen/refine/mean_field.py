"""Mean field of a dense CRF over two permutohedral lattices, pixels and classes at once."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from labelgen.geometry.compiled import compiled
from labelgen.refine.crew import Crew
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
        for neighbours in lattice.neighbours:
            run(lambda a, b, n=neighbours, v=values, w=blurred: _blur(v, n, columns, a, b, w), count)
            values, blurred = blurred, values
        run(lambda a, b: _hand_out(values, lattice.vertex_of, columns, a, b, self.messages), len(lattice.vertex_of))

    def of_band(self, band: int, width: int) -> tuple[np.ndarray, ...]:
        """Vertices and weights of the pixels of a band, messages and sums of its vertices."""
        part: Band = self.lattice.bands[band]
        pixels = slice(part.first_row * width, part.last_row * width)
        values = slice(part.first_value * self.columns, part.last_value * self.columns)
        return self.lattice.vertices[pixels], self.lattice.weights[pixels], self.messages[values], self.sums[values]


def mean_field(
    log_probabilities: Float32[np.ndarray, "C H W"],
    lattices: tuple[Lattice, Lattice],
    weights: tuple[float, float],
    *,
    steps: int,
    crew: Crew,
) -> Float32[np.ndarray, "C H W"]:
    """`Q = softmax(log p + sum_m w_m Kt_m Q)`, `steps` times, from `Q = softmax(log p)`.

    In one pass over the pixels, messages are read from the vertices around each pixel, turned into its Q, and that is
    added to the vertices again for the next step: Q itself is never stored before the last step.

    Parameters
    ----------
    lattices, weights
        Of the two kernels, both lattices of an image of this size.

    Returns
    -------
    Float32[np.ndarray, "C H W"]
        Sums to 1 in each pixel; probabilities below 9e-27 are 0.
    """
    classes, height, width = log_probabilities.shape
    columns = -(-classes // LANES) * LANES
    first, second = (LatticeKernel(lat, w, columns, crew) for lat, w in zip(lattices, weights, strict=True))
    logits = np.empty(height * width * columns, np.float32)
    planes = log_probabilities.reshape(classes, -1)
    result = np.empty_like(planes)
    bands = [slice(band.first_row * width, band.last_row * width) for band in lattices[0].bands]

    def arrange(band: int) -> None:
        _interleave(planes, bands[band].start, bands[band].stop, columns, logits)

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
    return result.reshape(log_probabilities.shape)


@compiled
@no_type_check
def _interleave(planes, first, last, columns, logits):
    """Turn planes of classes into rows of classes, one for each pixel."""
    classes = planes.shape[0]
    for pixel in range(first, last):
        for column in range(columns):
            logits[pixel * columns + column] = planes[column, pixel] if column < classes else NO_CLASS


@compiled
@no_type_check
def _posterior(logits, columns, pixel, first, second, row):
    """Write Q of a pixel into `row`, up to a factor that is returned."""
    first_vertices, first_weights, first_messages, _ = first
    second_vertices, second_weights, second_messages, _ = second
    top = load(logits, pixel * columns)
    for column in range(0, columns, LANES):
        values = load(logits, pixel * columns + column)
        for corner in range(first_vertices.shape[1]):
            place = first_vertices[pixel, corner] * columns + column
            values = add_scaled(values, first_weights[pixel, corner], load(first_messages, place))
        for corner in range(second_vertices.shape[1]):
            place = second_vertices[pixel, corner] * columns + column
            values = add_scaled(values, second_weights[pixel, corner], load(second_messages, place))
        store(row, column, values)
        top = values if column == 0 else greatest(top, values)
    highest = largest(top)
    sums = exponential(minus(load(row, 0), highest))
    store(row, 0, sums)
    for column in range(LANES, columns, LANES):
        exponentials = exponential(minus(load(row, column), highest))
        store(row, column, exponentials)
        sums = plus(sums, exponentials)
    return np.float32(1) / total(sums)


@compiled
@no_type_check
def _update(logits, columns, first, second):
    """One step for the pixels of a band: Q of each from the messages, added to the sums of its vertices."""
    first_vertices, first_weights, _, first_sums = first
    second_vertices, second_weights, _, second_sums = second
    first_sums[:] = 0
    second_sums[:] = 0
    row = np.empty(columns, np.float32)
    for pixel in range(first_vertices.shape[0]):
        factor = _posterior(logits, columns, pixel, first, second, row)
        for column in range(0, columns, LANES):
            values = scaled(load(row, column), factor)
            for corner in range(first_vertices.shape[1]):
                place = first_vertices[pixel, corner] * columns + column
                store(first_sums, place, add_scaled(load(first_sums, place), first_weights[pixel, corner], values))
            for corner in range(second_vertices.shape[1]):
                place = second_vertices[pixel, corner] * columns + column
                store(second_sums, place, add_scaled(load(second_sums, place), second_weights[pixel, corner], values))


@compiled
@no_type_check
def _finish(logits, columns, first, second, result, start):
    """Q of the pixels of a band, as planes of classes."""
    row = np.empty(columns, np.float32)
    for pixel in range(first[0].shape[0]):
        factor = _posterior(logits, columns, pixel, first, second, row)
        for column in range(result.shape[0]):
            result[column, start + pixel] = row[column] * factor


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
def _hand_out(values, vertex_of, columns, first, last, messages):
    """Copy the values of vertices to their places in the bands."""
    for place in range(first, last):
        for column in range(0, columns, LANES):
            store(messages, place * columns + column, load(values, vertex_of[place] * columns + column))
