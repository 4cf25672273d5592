"""Compiled loops of refiners that average places over neighbours: weights from colours, and one step of averaging."""

from typing import no_type_check

import numba
import numpy as np

from labelgen.geometry.compiled import compiled

__all__ = ["colour_weights", "neighbour_sums"]


@compiled
@no_type_check
def neighbour_sums(source, target, weights, offsets, pad):
    """Write `sum_k weights[row, k, col] source[plane, row + offsets[k, 0], col + offsets[k, 1]]` into `target`.

    Both are padded by `pad` on all sides, and the padding of `target` is left as it is. The weights of a row lie
    together, because all planes read them one after the other.
    """
    height, count, width = weights.shape
    for row in range(height):
        for plane in range(source.shape[0]):
            sums = target[plane, row + pad, pad : pad + width]
            sums[:] = 0
            for k in range(0, count - 3, 4):
                a = _shifted(source[plane], row, pad, offsets[k], width)
                b = _shifted(source[plane], row, pad, offsets[k + 1], width)
                c = _shifted(source[plane], row, pad, offsets[k + 2], width)
                d = _shifted(source[plane], row, pad, offsets[k + 3], width)
                of_a, of_b, of_c, of_d = weights[row, k], weights[row, k + 1], weights[row, k + 2], weights[row, k + 3]
                for col in range(width):  # four at once, in pairs: a quarter of the rounding that one by one has
                    sums[col] += (of_a[col] * a[col] + of_b[col] * b[col]) + (of_c[col] * c[col] + of_d[col] * d[col])
            for k in range(count - count % 4, count):
                values, factors = _shifted(source[plane], row, pad, offsets[k], width), weights[row, k]
                for col in range(width):
                    sums[col] += factors[col] * values[col]


@numba.njit(inline="always")
@no_type_check
def _shifted(plane, row, pad, offset, width):
    first = pad + offset[1]
    return plane[row + pad + offset[0], first : first + width]


@compiled
@no_type_check
def colour_weights(padded, offsets, pad, centres, share, power, weights):
    """Write the softmax over neighbours of `-mean_c (|I - I_k| / (1e-8 + share std_c)) ** power` into `weights`.

    `padded` is the image in int64, replicated by `pad` on all sides. The unbiased standard deviation is over the
    neighbours and `centres` copies of the pixel itself; colours are whole numbers, so that its sums are exact.
    """
    height, count, width = weights.shape
    channels = padded.shape[2]
    samples = count + centres
    distances = np.empty(count, np.float64)
    for row in range(height):
        for col in range(width):
            distances[:] = 0
            for channel in range(channels):
                centre = padded[row + pad, col + pad, channel]
                total, squares = centres * centre, centres * centre * centre
                for k in range(count):
                    value = padded[row + pad + offsets[k, 0], col + pad + offsets[k, 1], channel]
                    total += value
                    squares += value * value
                variance = (samples * squares - total * total) / (samples * (samples - 1))
                scale = 1 / (1e-8 + share * np.sqrt(variance))
                for k in range(count):
                    value = padded[row + pad + offsets[k, 0], col + pad + offsets[k, 1], channel]
                    distances[k] += (abs(centre - value) * scale) ** power
            least = distances.min()
            normaliser = 0.0
            for k in range(count):
                distances[k] = np.exp((least - distances[k]) / channels)
                normaliser += distances[k]
            for k in range(count):
                weights[row, k, col] = distances[k] / normaliser
