"""Scores voted on by regions of the image: superpixels that are computed, or region maps that are given."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from labelgen.data.inputs import InputFile, with_input
from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask, decode_mask
from labelgen.refine.refiner import Refiner, check_settings
from labelgen.untrusted import read_npz_arrays

__all__ = ["REGIONS", "RegionsConfig", "make_regions", "mean_scores", "read_regions", "vote_shares"]

Regions = Integer[np.ndarray, "H W"]
"""Region of each pixel; any integers, 0 = no region."""


@dataclass(frozen=True)
class RegionsConfig:
    """Give all pixels of a region the same scores.

    Pixels of a region that abstain have no vote in it, and follow the vote; a region without any vote abstains.
    Pixels without a region keep their scores.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Kang & Cho, "In Defense of Lazy Visual Grounding for Open-Vocabulary Semantic Segmentation", ECCV 2024,
       arXiv 2408.04961: mean scores.
    .. [2] Zhang et al., "CorrCLIP: Reconstructing Patch Correlations in CLIP for Open-Vocabulary Semantic
       Segmentation", ICCV 2025, arXiv 2411.10086: the most frequent label.
    .. [3] Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", TPAMI 2012.
    .. [4] Felzenszwalb & Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.
    """

    source: Annotated[str, "felzenszwalb, slic, or a folder of region maps: <id>.png or <id>.npz of whole numbers"] = (
        "felzenszwalb"
    )
    vote: Annotated[Literal["mean", "majority"], "mean of the scores, or shares of the pixels' best classes"] = "mean"
    zero: Annotated[Literal["none", "region"], "what 0 means in region maps: no region, or one like others"] = "none"
    scale: Annotated[float, "felzenszwalb: higher gives larger regions"] = 100.0
    sigma: Annotated[float, "felzenszwalb: smoothing before, in pixels"] = 0.8
    min_size: Annotated[int, "felzenszwalb: pixels of the smallest region"] = 20
    segments: Annotated[int, "slic: about how many regions"] = 200
    compactness: Annotated[float, "slic: place against colour"] = 10.0

    def __post_init__(self) -> None:
        for name, choices in (("vote", ("mean", "majority")), ("zero", ("none", "region"))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be {' or '.join(choices)}, got {getattr(self, name)!r}")
        if not self.source:
            raise ConfigError("source must be felzenszwalb, slic or a folder of region maps, got nothing")
        if self.segments < 1 or self.min_size < 1:
            raise ConfigError(f"segments and min_size must be >= 1, got {self.segments} and {self.min_size}")
        of_choice = {"felzenszwalb": ("scale", "sigma", "min_size"), "slic": ("segments", "compactness")}
        choice = self.source if self.source in of_choice else "a folder of region maps"
        check_settings(self, of_choice={**of_choice, "a folder of region maps": ("zero",)}, choice=choice)
        if self.compactness <= 0 or self.scale <= 0 or self.sigma < 0:
            raise ConfigError(
                f"compactness and scale must be > 0 and sigma >= 0, got {self.compactness}, {self.scale}, {self.sigma}"
            )


def make_regions(config: RegionsConfig) -> Refine:
    """Build the refiner.

    Raises
    ------
    ConfigError
        When the folder of region maps does not exist.
    """
    find = _finder(config)
    vote = {"mean": mean_scores, "majority": vote_shares}[config.vote]

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        regions, file = find(sample)
        if regions.shape != mask.size:
            raise DataError(
                f"a region map must have the size of its image, {mask.size}, got {regions.shape} for {sample.id}"
                + (f" in {file.path}" if file else ""),
                hint="nothing is resized silently; make the files agree",
            )
        details = mask.details if file is None else with_input(mask.details, file)
        scores = vote(mask.scores, regions) if mask.class_ids else mask.scores
        return dataclasses.replace(mask, scores=scores, details=details)

    return refine


def mean_scores(scores: Float32[np.ndarray, "C H W"], regions: Regions) -> Float32[np.ndarray, "C H W"]:
    """The mean score of each class over the pixels of a region that do not abstain.

    Examples
    --------
    >>> scores = np.array([[[1.0, 0.5, 0.0, 0.3]], [[0.0, 0.0, 0.0, 0.1]]], np.float32)
    >>> mean_scores(scores, np.array([[1, 1, 1, 0]]))[0].tolist() == [[0.75, 0.75, 0.75, scores[0, 0, 3]]]
    True
    """
    return _voted(scores, scores, regions)


def vote_shares(scores: Float32[np.ndarray, "C H W"], regions: Regions) -> Float32[np.ndarray, "C H W"]:
    """The share of the pixels of a region, those that abstain left out, whose best class is this one.

    The best class of a region is thus the most frequent one; ties go to the first, as in `labelgen.masks.harden`.

    Examples
    --------
    >>> scores = np.array([[[0.9, 0.1, 0.1, 0.0]], [[0.0, 0.2, 0.2, 0.0]]], np.float32)
    >>> (3 * vote_shares(scores, np.ones((1, 4), int))[:, 0, 0]).round().tolist()
    [1.0, 2.0]
    """
    best = scores.argmax(axis=0)
    votes = (best == np.arange(len(scores))[:, None, None]) & (scores.max(axis=0) > 0)
    return _voted(scores, votes.astype(np.float32), regions)


def _voted(scores: np.ndarray, votes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Average votes over regions; scores are kept where there is no region."""
    ids, index = np.unique(regions, return_inverse=True)
    index = index.reshape(-1)
    counts = np.bincount(index, weights=(votes.max(axis=0) > 0).reshape(-1), minlength=len(ids))
    has_region = regions != 0
    result = scores.copy()
    for plane, vote in zip(result, votes, strict=True):
        sums = np.bincount(index, weights=vote.reshape(-1), minlength=len(ids))
        means = np.divide(sums, counts, out=np.zeros(len(ids)), where=counts > 0)
        np.copyto(plane, means[index].reshape(plane.shape), where=has_region, casting="same_kind")
    return result


def slic_regions(image: UInt8[np.ndarray, "H W 3"], *, segments: int, compactness: float) -> Regions:
    """Superpixels by k-means over place and colour, numbered from 1."""
    from skimage.segmentation import slic

    return slic(image, n_segments=segments, compactness=compactness, start_label=1)


def felzenszwalb_regions(image: UInt8[np.ndarray, "H W 3"], *, scale: float, sigma: float, min_size: int) -> Regions:
    """Regions by merging along the weakest edges, numbered from 1."""
    from skimage.segmentation import felzenszwalb

    return felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size) + 1


def read_regions(folder: Path, sample_id: str) -> tuple[Regions, InputFile]:
    """Read the region map of one image: `<id>.png` (8 or 16 bits), or `<id>.npz` with one array of whole numbers.

    Returns
    -------
    tuple
        The regions and the file that held them.

    Raises
    ------
    DataError
        When there is no such file, it cannot be read, or it holds anything else.
    """
    png, npz = folder / f"{sample_id}.png", folder / f"{sample_id}.npz"
    path = png if png.is_file() else npz
    try:
        file = InputFile.read(path)
    except FileNotFoundError as error:
        raise DataError(
            f"no region map of {sample_id!r}: looked for {png} and .npz", hint="name each file after its image: ID.png"
        ) from error
    except OSError as error:
        raise DataError(
            f"region map cannot be read: {path} ({error.strerror})", hint="is it a file you may read?"
        ) from error
    return (decode_mask(file.content, where=str(png)) if path is png else _decode_npz(file.content, npz)), file


def _decode_npz(content: bytes, npz: Path) -> Regions:
    try:
        arrays = read_npz_arrays(content)
    except ValueError as error:
        raise DataError(f"region map cannot be read: {npz} ({error})", hint="is it truncated, or pickled?") from error
    if len(arrays) != 1:
        raise DataError(f"a region map must be one array, got {len(arrays)} in {npz}")
    regions = next(iter(arrays.values()))
    if regions.ndim != 2 or regions.dtype.kind not in "iu":
        raise DataError(f"a region map must be (H, W) whole numbers, got {regions.shape} {regions.dtype} in {npz}")
    return regions


def _finder(config: RegionsConfig) -> Callable[[Sample], tuple[Regions, InputFile | None]]:
    """Regions of a sample, and the file that they come from, if any."""
    if config.source == "slic":
        options = {"segments": config.segments, "compactness": config.compactness}
        return lambda s: (slic_regions(s.need_image(), **options), None)
    if config.source == "felzenszwalb":
        options = {"scale": config.scale, "sigma": config.sigma, "min_size": config.min_size}
        return lambda s: (felzenszwalb_regions(s.need_image(), **options), None)
    folder = Path(config.source)
    if not folder.is_dir():
        raise ConfigError(
            f"no folder of region maps at {folder}", hint="regions:DIR, regions:slic or regions:felzenszwalb"
        )

    def find(sample: Sample) -> tuple[Regions, InputFile]:
        regions, file = read_regions(folder, sample.id)
        return _all_regions(regions, zero=config.zero), file

    return find


def _all_regions(regions: np.ndarray, *, zero: str) -> np.ndarray:
    """Make room at 0, which means no region, if 0 is a region in these files."""
    if zero == "none":
        return regions
    return np.unique(regions, return_inverse=True)[1].reshape(regions.shape) + 1


REGIONS = Refiner(RegionsConfig, make_regions, argument="source")
