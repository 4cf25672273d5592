"""Scores refined by a dense CRF."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.refine.crf_pydensecrf import need_pydensecrf
from labelgen.refine.crf_settings import CrfPreset, crf_settings
from labelgen.refine.dense_crf import check_backend, dense_crf
from labelgen.refine.refiner import Refiner, check_settings

__all__ = ["CRF", "CrfConfig", "make_crf"]

_KERNELS = ("steps", "smooth_sxy", "smooth_weight", "bilateral_sxy", "bilateral_srgb", "bilateral_weight")


@dataclass(frozen=True)
class CrfConfig:
    """Let scores follow the edges of the image.

    The scores, clipped to [1e-5, 1] and not made to sum to 1, are the probabilities that the CRF starts from; those
    that it ends with are the new scores. Only the classes of the mask are computed. A pixel that abstains has no
    preference at the start and gets its scores from the others, so that the CRF fills it; with one class alone every
    pixel becomes that class.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS
       2011, arXiv 1210.5644.
    .. [2] Lin et al., "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly Supervised Semantic
       Segmentation", CVPR 2023, arXiv 2212.09506: no label below 0.95 (`min_confidence`).
    """

    preset: Annotated[CrfPreset, "numbers of psa, irn, deeplab or adele"] = "psa"
    steps: Annotated[int | None, "mean-field steps; none: of the preset, as all up to bilateral_weight"] = None
    smooth_sxy: Annotated[float | None, "smoothness: deviation in pixels"] = None
    smooth_weight: Annotated[float | None, "smoothness: weight"] = None
    bilateral_sxy: Annotated[float | None, "appearance: deviation in pixels"] = None
    bilateral_srgb: Annotated[float | None, "appearance: deviation in colour levels"] = None
    bilateral_weight: Annotated[float | None, "appearance: weight"] = None
    min_confidence: Annotated[float, "abstain where the best probability is lower; clip-es: 0.95"] = 0.0
    backend: Annotated[
        Literal["auto", "labelgen", "numba", "pydensecrf", "exact"], "labelgen (auto, numba), pydensecrf, or exact"
    ] = "auto"
    threads: Annotated[int, "0: all cores, and one in each of several workers; no say in the result"] = 0

    def __post_init__(self) -> None:
        check_settings(self, of_choice={}, choice="")
        crf_settings(self.preset, **self.changes)
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min_confidence must lie in [0, 1], got {self.min_confidence}")
        check_backend(self.backend, self.threads)

    @property
    def changes(self) -> dict[str, float | None]:
        """The numbers that are not to be those of the preset, None for the others."""
        return {name: getattr(self, name) for name in _KERNELS}


def _settle(config: CrfConfig, data: DataSpec) -> CrfConfig:
    """With the numbers of the preset filled in, so that a run records them."""
    return dataclasses.replace(config, **dataclasses.asdict(crf_settings(config.preset, **config.changes)))


def make_crf(config: CrfConfig) -> Refine:
    """Build the refiner.

    Raises
    ------
    ConfigError
        When the backend is not installed.
    """
    if config.backend == "pydensecrf":
        need_pydensecrf()
    options = {**config.changes, "preset": config.preset, "backend": config.backend, "threads": config.threads}

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        if not mask.class_ids:
            return mask
        scores = dense_crf(sample.need_image(), mask.scores, **options)  # type: ignore[arg-type]
        scores[:, scores.max(axis=0) < np.float32(config.min_confidence)] = 0
        return dataclasses.replace(mask, scores=scores)

    return refine


CRF = Refiner(CrfConfig, make_crf, argument="preset", settle=_settle)
