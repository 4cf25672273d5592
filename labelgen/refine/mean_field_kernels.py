"""Kernels of the mean field of a dense CRF: messages and Q of the pixels, and the blur of the vertices between them."""

from typing import no_type_check

import numpy as np

from labelgen.geometry.compiled import compiled
from labelgen.refine.lanes import add_scaled, exponential, greatest, largest, load, minus, plus, scaled, store, total

__all__ = ["RUN", "blur_along", "blur_to_places", "collect", "finish_band", "interleave", "update_band"]

COLOUR_CORNERS, PLACE_CORNERS = 6, 3
"""Vertices around a pixel in the lattice of places and colours, and in that of places; known to the compiler."""

RUN = 64
"""Pixels whose Q is kept for a moment: so few that they stay in the nearest cache."""

NO_CLASS = np.float32(-1e30)
"""Logit of the columns that fill up the classes to whole items: they get exactly 0."""


@compiled
@no_type_check
def interleave(planes, logits):
    """Turn planes of classes into rows of classes, one for each pixel."""
    classes, count = planes.shape
    columns = logits.size // count
    logits[:] = NO_CLASS
    for start in range(0, count, RUN):
        for column in range(classes):
            for pixel in range(start, min(start + RUN, count)):
                logits[pixel * columns + column] = planes[column, pixel]


@compiled
@no_type_check
def _posterior(logits, blocks, start, stop, first, second, rows, tops):
    """Write Q of the pixels `start` to `stop` into `rows`, loop by loop, so that pixels do not wait for each other."""
    first_vertices, first_weights, first_messages, _ = first
    second_vertices, second_weights, second_messages, _ = second
    for pixel in range(start, stop):
        top = load(logits, pixel * blocks)
        for block in range(blocks):
            values = load(logits, pixel * blocks + block)
            for corner in range(COLOUR_CORNERS):
                place = first_vertices[pixel, corner] * blocks + block
                values = add_scaled(values, first_weights[pixel, corner], load(first_messages, place))
            for corner in range(PLACE_CORNERS):
                place = second_vertices[pixel, corner] * blocks + block
                values = add_scaled(values, second_weights[pixel, corner], load(second_messages, place))
            store(rows, (pixel - start) * blocks + block, values)
            top = values if block == 0 else greatest(top, values)
        tops[pixel - start] = largest(top)
    for row in range(stop - start):
        for block in range(row * blocks, (row + 1) * blocks):
            store(rows, block, exponential(minus(load(rows, block), tops[row])))
    for row in range(stop - start):
        sums = load(rows, row * blocks)
        for block in range(row * blocks + 1, (row + 1) * blocks):
            sums = plus(sums, load(rows, block))
        factor = np.float32(1) / total(sums)
        for block in range(row * blocks, (row + 1) * blocks):
            store(rows, block, scaled(load(rows, block), factor))


@compiled
@no_type_check
def update_band(logits, blocks, first, second, rows):
    """One step for the pixels of a band: Q of each from the messages, added to the sums of its vertices, 0 before."""
    first_vertices, first_weights, _, first_sums = first
    second_vertices, second_weights, _, second_sums = second
    tops = np.empty(RUN, np.float32)
    for start in range(0, first_vertices.shape[0], RUN):
        stop = min(start + RUN, first_vertices.shape[0])
        _posterior(logits, blocks, start, stop, first, second, rows, tops)
        for pixel in range(start, stop):
            for block in range(blocks):
                values = load(rows, (pixel - start) * blocks + block)
                for corner in range(COLOUR_CORNERS):
                    place = first_vertices[pixel, corner] * blocks + block
                    added = add_scaled(load(first_sums, place), first_weights[pixel, corner], values)
                    store(first_sums, place, added)
                for corner in range(PLACE_CORNERS):
                    place = second_vertices[pixel, corner] * blocks + block
                    added = add_scaled(load(second_sums, place), second_weights[pixel, corner], values)
                    store(second_sums, place, added)


@compiled
@no_type_check
def finish_band(logits, blocks, first, second, rows, numbers, begin, result):
    """Q of the pixels of a band, as planes of classes; `numbers` are the numbers in `rows`."""
    count, columns = first[0].shape[0], numbers.size // RUN
    tops = np.empty(RUN, np.float32)
    for start in range(0, count, RUN):
        stop = min(start + RUN, count)
        _posterior(logits, blocks, start, stop, first, second, rows, tops)
        for column in range(result.shape[0]):
            for pixel in range(start, stop):
                result[column, begin + pixel] = numbers[(pixel - start) * columns + column]


@compiled
@no_type_check
def collect(sums, starts, places, scale, blocks, first, last, values):
    """Add up what the bands have for each vertex, in the order of the bands."""
    for vertex in range(first, last):
        for block in range(blocks):
            row = scaled(load(sums, places[starts[vertex]] * blocks + block), scale)
            for place in range(starts[vertex] + 1, starts[vertex + 1]):
                row = add_scaled(row, scale, load(sums, places[place] * blocks + block))
            store(values, vertex * blocks + block, row)


@compiled
@no_type_check
def blur_along(values, neighbours, blocks, first, last, blurred):
    """Half of each neighbour along one axis, added to a vertex (Adams 2010, p. 7: [1 2 1], up to the scale)."""
    half = np.float32(0.5)
    for vertex in range(first, last):
        before, after = neighbours[vertex, 0] * blocks, neighbours[vertex, 1] * blocks
        for block in range(blocks):
            row = add_scaled(load(values, vertex * blocks + block), half, load(values, before + block))
            store(blurred, vertex * blocks + block, add_scaled(row, half, load(values, after + block)))


@compiled
@no_type_check
def blur_to_places(values, neighbours, vertex_of, blocks, first, last, messages):
    """The same along the last axis, with the result at every place of the bands that a vertex has."""
    half = np.float32(0.5)
    for place in range(first, last):
        vertex = vertex_of[place]
        before, after = neighbours[vertex, 0] * blocks, neighbours[vertex, 1] * blocks
        for block in range(blocks):
            row = add_scaled(load(values, vertex * blocks + block), half, load(values, before + block))
            store(messages, place * blocks + block, add_scaled(row, half, load(values, after + block)))
