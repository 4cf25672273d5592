"""Masks in files of other tools as a labelling method: one mask per image in, a run out."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.formats.class_names import ClassNames, parse_renames
from labelgen.formats.format import Masks, ReadOptions
from labelgen.formats.table import mask_format
from labelgen.masks import SoftMask
from labelgen.vocab import Vocabulary

__all__ = ["MaskImportConfig", "container_facts", "make_mask_import", "open_masks"]


@dataclass(frozen=True)
class MaskImportConfig:
    """Which masks, and what is made of them.

    Parameters
    ----------
    format
        Out of `labelgen.formats.table.FORMATS`.
    path
        The file or folder.
    rename
        `NAME=CLASS` pairs: the class of a name in the files, or `unlabelled`.
    overlap, rest, min_score, categories
        As in `labelgen.formats.format.ReadOptions`.

    Raises
    ------
    ConfigError
        When the format is unknown, or a setting is out of range or has no say for it.
    """

    format: str
    path: str
    rename: tuple[str, ...] = ()
    overlap: Literal["score", "small", "unlabelled"] = "score"
    rest: Literal["unlabelled", "background"] = "unlabelled"
    min_score: float = 0.0
    categories: str = ""

    def __post_init__(self) -> None:
        row = mask_format(self.format)
        parse_renames(self.rename)
        if not 0 <= self.min_score < float("inf"):
            raise ConfigError(f"min_score must be finite and >= 0, got {self.min_score}")
        has_say = {"overlap": row.scored, "min_score": row.scored, "rest": row.rest}
        has_say["categories"] = self.format == "instances"
        for name, allowed in has_say.items():
            if getattr(self, name) != getattr(ReadOptions, name) and not allowed:
                raise ConfigError(
                    f"{name} has no say for the format {self.format}, got {getattr(self, name)!r}",
                    hint="its masks do not overlap, and say of each pixel what it is"
                    if not row.rest
                    else "leave it out",
                )

    def options(self) -> ReadOptions:
        """How masks are read."""
        return ReadOptions(self.overlap, self.rest, self.min_score, self.categories)


def open_masks(config: MaskImportConfig, vocabulary: Vocabulary) -> Masks:
    """Open the files.

    Raises
    ------
    DataError
        When they are not there or malformed.
    VocabularyError
        When a class that they name is unknown.
    """
    names = ClassNames(vocabulary, parse_renames(config.rename))
    path = Path(config.path)
    if not path.exists():
        raise DataError(f"no such file or folder: {path}", hint="check the path")
    return mask_format(config.format).opener()(path, names, config.options())


def make_mask_import(config: MaskImportConfig, vocabulary: Vocabulary) -> Generate:
    """The function that reads the mask of one image."""
    masks = open_masks(config, vocabulary)

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        return masks.mask(sample.id, sample.size)

    return generate


def container_facts(config: MaskImportConfig) -> dict[str, Any]:
    """Hashes of files that hold the masks of many images, so that a run does not go on with others.

    Files of single images are hashed when they are read, and named in the manifest.
    """
    path = Path(config.path)
    files = [path] if path.is_file() else [*sorted(path.glob("*.tar")), *sorted(path.glob("*.arrow"))]
    files += sorted(path.glob("tasks.json")) + sorted(path.glob("annotations/panoptic_*.json"))
    files += sorted(path.glob("labelmap.txt")) + sorted(path.glob("id2label.json"))
    files += [Path(config.categories)] if config.categories else []
    return {"inputs": {file.name: _sha256(file) for file in files}} if files else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
