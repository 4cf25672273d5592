"""Seed files of published code as a labelling method: one file per image in, scores out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from labelgen.data.inputs import InputFile, with_input
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.seeds.backgrounds import BackgroundRule, Channel, Saliency, parse_background, set_against
from labelgen.seeds.legacy import format_named, read_seeds
from labelgen.seeds.normalise import NORMALISATIONS, normalise
from labelgen.vocab import Vocabulary

__all__ = ["ImportConfig", "make_import", "seed_file"]

SLACK = 1e-3  # above 1: maps of float16, or resized bilinearly


@dataclass(frozen=True)
class ImportConfig:
    """Which seed files, and what is made of them.

    Parameters
    ----------
    format
        Out of `labelgen.seeds.legacy.SEED_FORMATS`.
    path
        The folder; `<id>.npy` within it.
    background
        Rule of background, such as fixed:0.2 or power:6; empty for that of the code that writes such files. Files that
        hold a background have no other.
    normalise
        Scale maps to [0, 1] first (max, minmax or minmax0); empty for maps that are scaled already.

    Raises
    ------
    ConfigError
        When a value is unknown, or a rule needs a plane that such files lack.
    """

    format: str
    path: str
    background: str = ""
    normalise: str = ""

    def __post_init__(self) -> None:
        row = format_named(self.format)
        if row.background_first and (self.background or self.normalise):
            what = "background" if self.background else "normalise"
            raise ConfigError(
                f"{self.format} files hold a background beside probabilities, so {what} has no say, "
                f"got {getattr(self, what)!r}",
                hint="leave it out; labelgen quality --curve sweeps over thresholds",
            )
        if self.normalise and self.normalise not in NORMALISATIONS:
            raise ConfigError(f"normalise must be {', '.join(NORMALISATIONS)}, got {self.normalise!r}")
        object.__setattr__(self, "background", self.background or row.rule)
        if isinstance(self.rule(), Saliency | Channel):
            raise ConfigError(
                f"seed files hold no plane for the background rule {self.background}",
                hint="fixed:0.2, power:6 or dual:power:4/power:24",
            )

    def rule(self) -> BackgroundRule | None:
        """The rule; None where files hold a background."""
        return parse_background(self.background) if self.background else None


def seed_file(folder: Path, sample_id: str) -> Path:
    """Where the seeds of one image lie."""
    return folder / f"{sample_id}.npy"


def make_import(config: ImportConfig, vocabulary: Vocabulary) -> Generate:
    """The function that reads the seeds of one image and sets them against a background.

    Raises
    ------
    ConfigError
        When the vocabulary has no background.
    """
    background, rule, folder = vocabulary.background, config.rule(), Path(config.path)
    if background is None:
        raise ConfigError(
            f"seeds are set against a background, but vocabulary {vocabulary.name!r} has no such class",
            hint="use a vocabulary with background, such as voc",
        )

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        path = seed_file(folder, sample.id)
        seeds = read_seeds(path, config.format, vocabulary, size=sample.size)
        maps = normalise(seeds.maps, how=config.normalise, where=str(path)) if config.normalise else seeds.maps
        maps = within_unit(maps, path)
        if rule is None:
            assert seeds.background is not None  # such files have one
            plane = within_unit(seeds.background[None], path)[0]
            mask = set_against(maps, seeds.class_ids, Channel(), background=background, channel=plane)
        else:
            mask = set_against(maps, seeds.class_ids, rule, background=background)
        details = with_input({}, InputFile.read(path))
        return SoftMask(mask.scores, mask.class_ids, details=details)

    return generate


def within_unit(maps: Float32[np.ndarray, "C H W"], path: Path) -> Float32[np.ndarray, "C H W"]:
    """The maps with negative values as 0, which never win (PSA keeps them), and rounding above 1 cut off.

    Raises
    ------
    DataError
        When a value exceeds 1 by more than rounding.
    """
    if maps.size and maps.max() > 1 + SLACK:
        raise DataError(
            f"maps must be scaled to [0, 1], got values up to {maps.max():.4g} in {path}",
            hint="--normalise max scales each class by its largest value, as PSA and IRN do",
        )
    return np.clip(maps, 0, 1)
