"""The dense CRF: probabilities pulled to the edges of the image, by mean field over all pairs of pixels."""

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.refine.crew import Crew, threads_to_use
from labelgen.refine.crf_exact import exact_crf
from labelgen.refine.crf_pydensecrf import pydensecrf_crf
from labelgen.refine.crf_settings import CrfSettings, crf_settings
from labelgen.refine.crf_unary import log_probabilities

__all__ = ["BACKENDS", "check_backend", "dense_crf"]

BACKENDS = ("auto", "labelgen", "numba", "pydensecrf", "exact")
"""`auto` and `numba` are other names of `labelgen`, our own."""


def dense_crf(
    image: UInt8[np.ndarray, "H W 3"],
    probabilities: Float32[np.ndarray, "C H W"],
    *,
    preset: str = "psa",
    backend: str = "auto",
    steps: int | None = None,
    smooth_sxy: float | None = None,
    smooth_weight: float | None = None,
    bilateral_sxy: float | None = None,
    bilateral_srgb: float | None = None,
    bilateral_weight: float | None = None,
    threads: int = 0,
) -> Float32[np.ndarray, "C H W"]:
    """Mean-field probabilities of a CRF in which every pair of pixels is connected.

    Start: `Q = softmax(-U)` with `U = -log(p)`, p clipped to [1e-5, 1] and not made to sum to 1. Each step:
    `Q = softmax(-U + sum_m w_m Kt_m Q)`, with one Gaussian kernel over places and one over places and colours,
    `Kt = D^-1/2 K D^-1/2` with the row sums D of K, and Potts compatibility.

    Parameters
    ----------
    probabilities
        Scores in [0, 1] of each class; a column of zeros has no preference, and follows its neighbours.
    preset
        psa, irn, deeplab or adele; see `labelgen.refine.crf_settings`.
    backend
        `labelgen` (also `auto`, `numba`): our own, compiled by numba, with the lattice of Krähenbühl's densecrf;
        `pydensecrf`: that code itself, where it is installed; `exact`: all pairs, for up to 4096 pixels.
    steps, smooth_sxy, smooth_weight, bilateral_sxy, bilateral_srgb, bilateral_weight
        Numbers to use instead of those of the preset.
    threads
        Of our own backend; 0 = all cores, but one in a worker process. The result does not depend on it.

    Returns
    -------
    Float32[np.ndarray, "C H W"]
        Sums to 1 over the classes. With one class it is 1 everywhere.

    Raises
    ------
    ConfigError
        When there is no such preset or backend, pydensecrf is not installed, or a number is out of range.
    ShapeError
        When image and probabilities do not fit, there is no class or no pixel, or the image is too large for `exact`.
    DataError
        When a probability is no number.

    References
    ----------
    .. [1] Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NeurIPS
       2011, arXiv 1210.5644, algorithm 1.
    .. [2] Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
       Semantic Segmentation", CVPR 2018: the use on class activation maps.

    Examples
    --------
    >>> image = np.repeat(np.uint8([[10, 12, 200]])[..., None], 3, axis=2)
    >>> first = np.array([[[0.6, 0.6, 0.3]]], np.float32)
    >>> q = dense_crf(image, np.concatenate([first, 1 - first]), steps=1, backend="exact")
    >>> q[0].round(3).tolist() == np.float32([[0.922, 0.918, 0.007]]).tolist()
    True
    """
    check_backend(backend, threads)
    settings = crf_settings(
        preset,
        steps=steps,
        smooth_sxy=smooth_sxy,
        smooth_weight=smooth_weight,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_weight=bilateral_weight,
    )
    _check_image(image)
    _check_planes(probabilities, image.shape[:2])
    if backend == "exact":
        return exact_crf(image, log_probabilities(probabilities), settings)
    if backend == "pydensecrf":
        return pydensecrf_crf(image, log_probabilities(probabilities), settings)
    return _own_crf(image, probabilities, settings, threads=threads)


def _own_crf(image: np.ndarray, probabilities: np.ndarray, settings: CrfSettings, *, threads: int) -> np.ndarray:
    from labelgen.refine.mean_field import mean_field  # these import the compiler
    from labelgen.refine.permutohedral import image_lattice, place_lattice

    with Crew(threads_to_use(threads)) as crew:
        places = place_lattice(*image.shape[:2], sxy=settings.smooth_sxy)
        colours = image_lattice(image, sxy=settings.bilateral_sxy, srgb=settings.bilateral_srgb, crew=crew)
        weights = settings.bilateral_weight, settings.smooth_weight
        return mean_field(probabilities, (colours, places), weights, steps=settings.steps, crew=crew)


def check_backend(backend: str, threads: int = 0) -> None:
    """Refuse a backend that is unknown, and threads for one that knows none.

    Raises
    ------
    ConfigError
        Saying which there are.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"unknown backend of the CRF {backend!r}", hint=f"backends: {', '.join(BACKENDS)}")
    threads_to_use(threads)
    if backend in ("pydensecrf", "exact") and threads > 1:
        raise ConfigError(f"backend {backend} runs on one thread, got threads={threads}", hint="leave threads out")


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ShapeError(f"the image must be (H, W, 3) uint8 with pixels, got {image.shape} {image.dtype}")


def _check_planes(probabilities: np.ndarray, size: tuple[int, int]) -> None:
    if probabilities.ndim != 3 or probabilities.shape[1:] != size or probabilities.dtype != np.float32:
        raise ShapeError(
            f"probabilities must be (C, H, W) float32 of the size {size} of the image, "
            f"got {probabilities.shape} {probabilities.dtype}",
            hint="nothing is resized silently",
        )
    if not len(probabilities):
        raise ShapeError("probabilities of the CRF must be of at least one class, got none")
    if np.isnan(probabilities.max(initial=0)):
        raise DataError("probabilities of the CRF must be numbers, got nan")
