"""Seed files of published code as a labelling method: one file per image in, scores out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from labelgen.data.dataset import Dataset
from labelgen.data.inputs import InputFile, with_input
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import BackgroundRule, Channel, Saliency, parse_background
from labelgen.seeds.legacy import Seeds, format_named, read_seeds
from labelgen.seeds.normalise import NORMALISATIONS, normalise
from labelgen.store.lines import Record
from labelgen.vocab import Vocabulary

__all__ = ["FOREIGN", "ImportConfig", "disagreement", "make_import", "seed_file"]

FOREIGN = "classes_without_tag"
"""Key among the details of a mask: classes of the file that are no tag of the image, where its tags are known."""

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


def make_import(config: ImportConfig, vocabulary: Vocabulary, dataset: Dataset | None = None) -> Generate:
    """The function that reads the seeds of one image and sets them against a background.

    Parameters
    ----------
    dataset
        Where its tags are known, classes of a file that are none of them are warned about; labels do not depend on it.

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
        foreign = _without_tag(sample.id, seeds, dataset)
        details = {} if foreign is None else {FOREIGN: [vocabulary.classes[i] for i in foreign]}
        warnings = (*_empty_maps(seeds, vocabulary), *_foreign_classes(foreign or (), vocabulary))
        return SoftMask(
            mask.scores, mask.class_ids, warnings=warnings, details=with_input(details, InputFile.read(path))
        )

    return generate


def disagreement(records: Iterable[Record]) -> tuple[int, int]:
    """How many images have a class that is none of their tags, and of how many images tags are known.

    Examples
    --------
    >>> disagreement([{"details": {FOREIGN: ["cat"]}}, {"details": {FOREIGN: []}}, {"details": {}}])
    (1, 2)
    """
    found = [record["details"][FOREIGN] for record in records if FOREIGN in record["details"]]
    return sum(map(bool, found)), len(found)


def _empty_maps(seeds: Seeds, vocabulary: Vocabulary) -> list[str]:
    """What is to be said about seeds that hold nothing."""
    if not seeds.class_ids:
        return ["the file holds no map of a class: all background"]
    return [
        f"the map of {vocabulary.classes[class_id]} is nowhere above 0"
        for class_id, plane in zip(seeds.class_ids, seeds.maps, strict=True)
        if plane.max() <= 0
    ]


def _without_tag(sample_id: str, seeds: Seeds, dataset: Dataset | None) -> tuple[int, ...] | None:
    """Classes of a file that are no tag of the image; None where tags are not known.

    Raises
    ------
    DataError
        When a file of tags does not know the image.
    """
    if dataset is None:
        return None
    try:
        tags = dataset.load(sample_id, {"tags"}).need_tags()
    except DataError:
        if dataset.tags_source != "truth":
            raise
        return None
    return tuple(i for i in seeds.class_ids if i not in tags)


def _foreign_classes(class_ids: Iterable[int], vocabulary: Vocabulary) -> list[str]:
    names = ", ".join(vocabulary.classes[i] for i in class_ids)
    return [f"the file has a map of {names}, which the tags do not name"] if names else []


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
