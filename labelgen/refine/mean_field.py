"""Mean field of a dense CRF over two permutohedral lattices: all classes of a pixel at once, all steps in one pass."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from labelgen.refine.crew import Crew
from labelgen.refine.crf_unary import log_probabilities
from labelgen.refine.lanes import EIGHT, FOUR
from labelgen.refine.mean_field_kernels import (
    RUN,
    blur_along,
    blur_to_places,
    collect,
    finish_band,
    interleave,
    update_band,
)
from labelgen.refine.permutohedral import Lattice

__all__ = ["LatticeKernel", "mean_field"]


class LatticeKernel:
    """One kernel of the CRF during inference: its lattice, and for each vertex a row of values, one for each class.

    Parameters
    ----------
    lattice
        Where the pixels lie.
    weight
        Of the messages of this kernel.
    item
        `FOUR` or `EIGHT`: what rows are made of.
    blocks
        Items of a row; classes are filled up to that.
    crew
        Threads to use.
    """

    def __init__(self, lattice: Lattice, weight: float, item: np.dtype, blocks: int, crew: Crew) -> None:
        self.lattice, self.blocks, self.crew = lattice, blocks, crew
        self.scale = np.float32(weight * lattice.gain)
        places = len(lattice.vertex_of) * blocks
        self.messages, self.sums = np.zeros(places, item), np.empty(places, item)
        self._values = np.zeros((lattice.num_vertices + 1) * blocks, item)
        self._blurred = np.zeros_like(self._values)

    def clear(self, band: int) -> None:
        """Set the sums of a band to 0."""
        part, width = self.lattice.bands[band], self.blocks * self.sums.itemsize // 4
        self.sums.view(np.float32)[part.first_value * width : part.last_value * width] = 0

    def blur(self) -> None:
        """Turn the sums that bands made for their vertices into the messages that they get."""
        lattice, blocks, run = self.lattice, self.blocks, self.crew.run_ranges
        count, (*others, last) = lattice.num_vertices, lattice.neighbours
        values, blurred = self._values, self._blurred
        run(lambda a, b: collect(self.sums, lattice.starts, lattice.places, self.scale, blocks, a, b, values), count)
        for neighbours in others:
            run(lambda a, b, n=neighbours, v=values, w=blurred: blur_along(v, n, blocks, a, b, w), count)
            values, blurred = blurred, values
        vertex_of = lattice.vertex_of
        run(lambda a, b: blur_to_places(values, last, vertex_of, blocks, a, b, self.messages), len(vertex_of))

    def of_band(self, band: int, width: int) -> tuple[np.ndarray, ...]:
        """Vertices and weights of the pixels of a band, messages and sums of its vertices."""
        part = self.lattice.bands[band]
        pixels = slice(part.first_row * width, part.last_row * width)
        values = slice(part.first_value * self.blocks, part.last_value * self.blocks)
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
        Of the kernel over places and colours and of the one over places, both lattices of an image of this size.

    Returns
    -------
    Float32[np.ndarray, "C H W"]
        Sums to 1 in each pixel; probabilities below 9e-27 are 0.
    """
    classes, height, width = probabilities.shape
    item = FOUR if classes <= 4 else EIGHT
    blocks = -(-4 * classes // item.itemsize)
    first, second = (LatticeKernel(lat, w, item, blocks, crew) for lat, w in zip(lattices, weights, strict=True))
    logits = np.empty(height * width * blocks, item)
    planes = probabilities.reshape(classes, -1)
    result = np.empty_like(planes)
    bands = [slice(band.first_row * width, band.last_row * width) for band in lattices[0].bands]

    def of_band(band: int) -> tuple:
        part = logits[bands[band].start * blocks : bands[band].stop * blocks]
        return part, blocks, first.of_band(band, width), second.of_band(band, width), np.empty(RUN * blocks, item)

    def arrange(band: int) -> None:
        interleave(log_probabilities(planes[:, bands[band]]), of_band(band)[0].view(np.float32))

    def update(band: int) -> None:
        first.clear(band)
        second.clear(band)
        update_band(*of_band(band))

    def finish(band: int) -> None:
        *rest, rows = of_band(band)
        finish_band(*rest, rows, rows.view(np.float32), bands[band].start, result)

    def each_band(work: Callable[[int], None]) -> None:
        crew.run([lambda band=band: work(band) for band in range(len(bands))])

    each_band(arrange)
    for _ in range(steps):
        each_band(update)
        first.blur()
        second.blur()
    each_band(finish)
    return result.reshape(probabilities.shape)
