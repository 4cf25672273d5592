"""The grid on which scores of one image walk: how alike its cells are, and scores to cells and back to pixels."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from labelgen.data.inputs import InputFile, with_input
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.nets.geometry import Geometry, geometry_for
from labelgen.refine.band_affinity import boundary_affinity, cosine_affinity, l1_affinity, standardised
from labelgen.refine.boundary import feature_edges, image_gradient, largest_in_cells, read_boundaries
from labelgen.refine.cells import cells_to_pixels, grid_centres, has_vote, pixels_to_cells, read_cells
from labelgen.refine.neighbours import vote_averages
from labelgen.refine.planes import over_largest, without_class
from labelgen.refine.random_walk import random_walk
from labelgen.refine.token_network import network_of
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import Fixed, Power, parse_background

if TYPE_CHECKING:
    from labelgen.nets.backbones import Backbone
    from labelgen.refine.walk import WalkConfig

__all__ = [
    "Neighbourhood",
    "cell_colours",
    "cell_features",
    "grid_of",
    "make_neighbourhood",
    "walk_on_grid",
]


@dataclass(frozen=True)
class Neighbourhood:
    """How alike near cells of one image are.

    Parameters
    ----------
    geometry
        The grid.
    affinity
        Of each cell and the one at each offset, in [0, 1].
    boundary
        How sure a boundary runs through each cell, where affinities come from that; a score there is not trusted.
    file
        The file that says so, if any.
    """

    geometry: Geometry
    affinity: Float32[np.ndarray, "K h w"]
    boundary: Float32[np.ndarray, "h w"] | None = None
    file: InputFile | None = None


CELLS = 48
"""Along the short side where no stride is given: the 8 pixels that the papers take for VOC, at any size of image."""


def grid_of(size: tuple[int, int], stride: int) -> Geometry:
    """Cells of `stride` pixels over an image; those at the edges may hang over.

    Parameters
    ----------
    stride
        0 for cells that grow with the image: 8 pixels for images of VOC.

    Examples
    --------
    >>> grid_of((375, 500), 8).grid, grid_of((375, 500), 0).stride, grid_of((128, 160), 0).stride
    ((47, 63), 8, 3)
    """
    stride = stride or max(1, round(min(size) / CELLS))
    return geometry_for(size, size, stride=stride, multiple=stride)


def make_neighbourhood(config: "WalkConfig", offsets: Int64[np.ndarray, "K 2"]) -> Callable[[Sample], Neighbourhood]:
    """Load what the affinity needs, and return the function that computes it for an image.

    Raises
    ------
    ConfigError
        When the folder of boundary maps does not exist.
    """
    stride = vars(config)["stride"]
    network = network_of(config) if config.uses_network else None
    compare = cosine_affinity if config.kernel == "cosine" else l1_affinity
    if config.affinity == "boundary":
        boundaries = _boundaries(config, network)

        def within_boundaries(sample: Sample) -> Neighbourhood:
            geometry = grid_of(sample.size, stride)
            boundary, file = boundaries(sample, geometry)
            return Neighbourhood(geometry, boundary_affinity(boundary, offsets), boundary, file)

        return within_boundaries

    def alike(sample: Sample) -> Neighbourhood:
        image, geometry = sample.need_image(), grid_of(sample.size, stride)
        features = cell_colours(image, geometry)
        if network is not None:
            features = cell_features(image, geometry, network, tokens=config.tokens)
        return Neighbourhood(geometry, compare(standardised(features), offsets))

    return alike


def _boundaries(
    config: "WalkConfig", network: "Backbone | None"
) -> Callable[[Sample, Geometry], tuple[np.ndarray, InputFile | None]]:
    if config.boundary == "gradient":
        return lambda sample, geometry: (image_gradient(sample.need_image(), geometry), None)
    if network is not None:
        return lambda sample, geometry: (
            feature_edges(standardised(cell_features(sample.need_image(), geometry, network, tokens=config.tokens))),
            None,
        )
    folder = Path(config.boundary)
    if not folder.is_dir():
        raise ConfigError(
            f"no folder of boundary maps at {folder}", hint="boundary=DIR, boundary=gradient or boundary=features"
        )

    def read(sample: Sample, geometry: Geometry) -> tuple[np.ndarray, InputFile]:
        boundary, file = read_boundaries(folder, sample.id, sample.size)
        return largest_in_cells(boundary, geometry), file

    return read


def cell_colours(image: UInt8[np.ndarray, "H W 3"], geometry: Geometry) -> Float32[np.ndarray, "h w 3"]:
    """The mean colour of the pixels in each cell, 0 to 255.

    Examples
    --------
    >>> cell_colours(np.full((3, 3, 3), 8, np.uint8), grid_of((3, 3), 2)).tolist()[0]
    [[8.0, 8.0, 8.0], [8.0, 8.0, 8.0]]
    """
    planes = np.concatenate([np.moveaxis(image, 2, 0), np.ones((1, *image.shape[:2]), np.uint8)]).astype(np.float32)
    sums, _ = pixels_to_cells(planes, geometry)
    return np.moveaxis(sums[:-1] / sums[-1], 0, 2)


def cell_features(
    image: UInt8[np.ndarray, "H W 3"], geometry: Geometry, network: "Backbone", *, tokens: int
) -> Float32[np.ndarray, "h w D"]:
    """Tokens of a frozen network, read bilinearly at the centres of the cells.

    Parameters
    ----------
    tokens
        Along the short side of the image, whatever the size of the cells.
    """
    native = network.config.size or min(image.shape[:2])
    picture, of_tokens = network.prepare(image, scale=tokens * network.spec.stride / native)
    grid = network.tokens(picture[None])[0].permute(2, 0, 1).cpu().numpy()
    return np.moveaxis(read_cells(grid, of_tokens, *grid_centres(geometry)), 0, 2)


def walk_on_grid(
    mask: SoftMask,
    around: Neighbourhood,
    offsets: Int64[np.ndarray, "K 2"],
    *,
    beta: float,
    steps: int,
    background: str,
    background_id: int,
) -> SoftMask:
    """Average scores in cells, let them walk, and read them bilinearly at the pixels.

    Parameters
    ----------
    beta, steps
        As for `labelgen.refine.random_walk.random_walk`.
    background
        `keep`, or a power or fixed rule as text; see `labelgen.refine.walk.WalkConfig`.
    """
    rule = None if background == "keep" else parse_background(background)
    votes, start = has_vote(mask.scores), mask
    if rule is not None:
        start = without_class(mask, background_id)
    if isinstance(rule, Power):
        start = set_against(start.scores, start.class_ids, rule, background=background_id)
    sums, shares = pixels_to_cells(start.scores, around.geometry, votes=votes)
    cells = np.divide(sums, shares, out=np.zeros_like(sums), where=shares > 0)
    if around.boundary is not None:
        cells *= 1 - around.boundary

    def walk(planes: np.ndarray) -> np.ndarray:
        return random_walk(planes, around.affinity, offsets, beta=beta, steps=steps)

    cells, reached = vote_averages(walk, cells, shares > 0)
    is_near = reached.astype(np.float32)
    scores, class_ids = cells_to_pixels(cells, is_near, around.geometry), start.class_ids
    if isinstance(rule, Fixed):
        against = set_against(over_largest(scores), class_ids, rule, background=background_id)
        class_ids = against.class_ids
        scores = against.scores * (cells_to_pixels(is_near[None], is_near, around.geometry) > 0)
    details = mask.details if around.file is None else with_input(mask.details, around.file)
    return dataclasses.replace(mask, scores=scores, class_ids=class_ids, details=details)
