"""The first pass of zero-shot labels over a data set: thresholds from scores, without truth."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.methods.clip import ClipConfig, clip_needs
from labelgen.nets.zeroshot.calibrate import choose_ids, otsu_threshold, quantile_thresholds, score_histograms
from labelgen.vocab import Vocabulary

__all__ = ["calibrated"]

log = logging.getLogger(__name__)


def calibrated(
    config: ClipConfig, vocabulary: Vocabulary, dataset: Dataset | None, generator: Callable[[ClipConfig], Generate]
) -> tuple[ClipConfig, dict[str, Any]]:
    """Label part of the data, once for each threshold that is asked for; the same for all workers and shards.

    Parameters
    ----------
    generator
        Builds the labeller of given settings.

    Returns
    -------
    tuple
        The settings with the thresholds as numbers, and what was found, as JSON values.

    Raises
    ------
    ConfigError
        When there is no data set.
    """
    if dataset is None or not dataset.ids:
        raise ConfigError("thresholds can only be found on a data set, and there is none", hint="give them as numbers")
    ids = choose_ids(dataset.ids, config.calibration_images or 0)
    found: dict[str, Any] = {"images": len(ids)}

    def histograms(settings: ClipConfig) -> np.ndarray:
        masks = _masks(generator(settings), dataset, ids, clip_needs(settings))
        limit = settings.background_threshold
        return score_histograms(
            masks,
            num_classes=vocabulary.num_classes,
            background=vocabulary.background,
            threshold=limit if isinstance(limit, float | int) else 0.0,
        )

    if config.background_threshold == "auto":
        plain = replace(config, background_threshold=0.0, ignore_threshold=0.0, ignore_thresholds=(), area=0.0)
        found["background_threshold"] = otsu_threshold(histograms(plain).sum(axis=0))
        config = replace(config, background_threshold=found["background_threshold"])
    if config.ignore_quantile:
        thresholds = quantile_thresholds(
            histograms(replace(config, ignore_threshold=0.0)), quantile=config.ignore_quantile
        )
        named = {vocabulary.classes[class_id]: value for class_id, value in thresholds.items()}
        found |= {"ignore_quantile": config.ignore_quantile, "ignore_thresholds": named}
        entries = tuple(f"{name}={value!r}" for name, value in named.items())
        config = replace(config, ignore_quantile=0.0, ignore_thresholds=entries)
    return config, found


def _masks(generate: Generate, dataset: Dataset, ids: Sequence[str], needs: frozenset[str]) -> Iterator[SoftMask]:
    for number, sample_id in enumerate(ids, start=1):
        digest = hashlib.sha256(sample_id.encode()).digest()
        rng = np.random.default_rng(np.frombuffer(digest, "<u4"))
        try:
            yield generate(dataset.load(sample_id, needs | {"image"}).only(needs), rng)
        except DataError as error:
            log.warning("left out of the first pass: %s: %s", sample_id, error)
        if number % 100 == 0:
            log.info("first pass: %d of %d images", number, len(ids))
