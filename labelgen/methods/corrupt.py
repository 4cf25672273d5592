"""Ground truth made worse in a known way, with the achieved noise written down."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask, one_hot
from labelgen.methods.method import Method
from labelgen.vocab import Vocabulary

if TYPE_CHECKING:
    from labelgen.methods.corruptions.scene import Scene

__all__ = ["CORRUPT", "KIND_NAMES", "CorruptConfig", "make_corrupt"]

KIND_NAMES = (
    "erode", "dilate", "mixed", "pixels", "classes", "drop", "add", "polygon", "box", "jitter", "shift", "interior",
    "blocks", "band", "superpixel", "resolution",
)  # fmt: skip
"""The kinds by name, known here so that settings can be checked without loading the code behind them."""


@dataclass(frozen=True)
class CorruptConfig:
    """Corrupt the ground truth in one way, or in several one after the other.

    Objects are the 8-connected components of the classes other than background. What the manifest records of each
    image: whether it was corrupted, mIoU, boundary IoU and pixel flip rate against its truth, and what was drawn at
    random.

    Parameters
    ----------
    kind
        One or several of these, separated by commas, each with a strength of its own if wanted (`erode=0.2,drop`).
        What the strength means is given in brackets; 0 changes nothing.

        erode: objects too small; dilate: objects too large, over the background alone (rim in radii of the disk of
        equal area); mixed: erode or dilate, by image, at 2, 3 or 4 quarters of the strength; pixels: single pixels
        flip between background and a random class (share of the pixels); classes: objects take the class of a
        look-alike (share of the objects that have one); drop: objects are forgotten (share); add: objects are copied
        to another place of the same image (share); polygon: outlines as polygons (tolerance in twentieths of
        the perimeter); box: outlines grow to bounding boxes (share of the way); jitter: outlines wobble (standard
        deviation in thirds of the radius); shift: the map is moved (at most, in tenths of the longer side); interior:
        only the inner part of each region is labelled (share that is not); blocks: only blocks of a checkerboard are
        labelled (share that is not); band: boundaries are left out (20 pixels to each side); superpixel: outlines
        snap to superpixels of the image (from 5000 to 50 of them, geometrically); resolution: coarse pixels (64 to
        the power of the strength).
    level
        Strength in [0, 1] of the kinds that have none of their own.
    vacated
        What pixels become that an object leaves: background, or unlabelled. Vocabularies without a background class
        always leave them unlabelled.
    void
        Pixels that are void in the truth: keep leaves them unlabelled, fill gives them what the nearest class would
        have given. Outlines are taken in the middle of the void ring in both cases.
    confusion
        For classes: file of who is taken for whom, JSON `{class: {wrong class: weight}}` or CSV with the columns
        class, wrong class, weight; empty for the built-in pairs of look-alikes, such as cat and dog.
    false_class
        For add: class of the copies, same as the copied object or a random other one that the image does not have.
    block_size
        For blocks: their side in pixels.
    images
        Share of the images to corrupt, each chosen by its own draw; the others keep their truth.

    Raises
    ------
    ConfigError
        When a kind is unknown or a value out of range.

    Examples
    --------
    labelgen corrupt --kind boundary --level 0.3
    labelgen corrupt --kind classes=0.2,drop=0.1 --seed 1 --out runs/wrong
    """

    kind: str = "mixed"
    level: float = 0.3
    vacated: Literal["background", "unlabelled"] = "background"
    void: Literal["keep", "fill"] = "keep"
    confusion: str = ""
    false_class: Literal["other", "same"] = "other"
    block_size: int = 16
    images: float = 1.0

    def __post_init__(self) -> None:
        _check_level(self.level, "level")
        self.steps()
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be {' or '.join(choices)}, got {getattr(self, name)!r}")
        if self.block_size < 1:
            raise ConfigError(f"block_size must be >= 1 pixel, got {self.block_size}")
        if not 0 <= self.images <= 1:
            raise ConfigError(f"images must be a share in [0, 1], got {self.images}", hint="0.5 corrupts every second")

    def steps(self) -> tuple[tuple[str, float], ...]:
        """The kinds in order, each with its strength.

        Examples
        --------
        >>> CorruptConfig(kind="erode=0.2, drop", level=0.5).steps()
        (('erode', 0.2), ('drop', 0.5))
        """
        steps = []
        for entry in self.kind.split(","):
            name, has_level, text = (part.strip() for part in entry.partition("="))
            if name not in KIND_NAMES:
                raise ConfigError(f"unknown kind {name!r} of corruption", hint=f"kinds: {', '.join(KIND_NAMES)}")
            try:
                level = float(text) if has_level else self.level
            except ValueError:
                level = math.nan
            _check_level(level, f"level of {name}", got=text)
            steps.append((name, level))
        return tuple(steps)


_CHOICES = {"vacated": ("background", "unlabelled"), "void": ("keep", "fill"), "false_class": ("other", "same")}


def _check_level(level: float, what: str, *, got: str = "") -> None:
    if not 0 <= level <= 1:
        raise ConfigError(f"{what} must lie in [0, 1], got {got or level}", hint="0 changes nothing, 1 is the most")


def make_corrupt(config: CorruptConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator.

    Raises
    ------
    ConfigError
        When a kind needs what the vocabulary does not have.
    """
    from labelgen.methods.corruptions.noise import achieved_noise
    from labelgen.methods.corruptions.scene import Scene, nearest_values
    from labelgen.methods.corruptions.table import KINDS

    steps = config.steps()
    settings = _scene_settings(config, vocabulary, {name for name, _ in steps})

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        truth = sample.need_truth()
        known = truth != vocabulary.ignore
        if not known.any():
            details = {"corrupted": False}
            return one_hot(truth, ignore=vocabulary.ignore, warnings=["the truth is void everywhere"], details=details)
        chosen = config.images >= 1 or bool(rng.random() < config.images)
        filled, _ = nearest_values(truth, known) if not known.all() else (truth, None)
        image = sample.need_image() if corrupt_reads_image(config) else None
        scene, facts = _run(KINDS, steps if chosen else (), Scene(labels=filled, image=image, **settings), rng)
        labels = scene.labels
        if config.void == "keep":
            labels = np.where(known, labels, truth.dtype.type(vocabulary.ignore))
        noise = achieved_noise(truth, labels, num_classes=vocabulary.num_classes, ignore=vocabulary.ignore)
        details = {"corrupted": chosen, "steps": facts, "noise": noise}
        return one_hot(labels, ignore=vocabulary.ignore, details=details)

    return generate


def _run(kinds, steps, scene: "Scene", rng: np.random.Generator) -> "tuple[Scene, list[dict[str, Any]]]":
    facts = []
    for name, level in steps:
        fact = {"kind": name, "level": level}
        if level > 0:
            labels, drawn = kinds[name](scene, level, rng)
            scene = scene.with_labels(labels)
            fact |= drawn
        facts.append(fact)
    return scene, facts


def _scene_settings(config: CorruptConfig, vocabulary: Vocabulary, kinds: set[str]) -> dict[str, Any]:
    from labelgen.methods.corruptions.lookalikes import confusion_from_file, look_alike_confusion

    growing = sorted(kinds & {"dilate", "mixed"})
    if growing and vocabulary.background is None:
        raise ConfigError(
            f"{growing[0]} grows objects over the background, but the vocabulary {vocabulary.name!r} has none",
            hint="use jitter, polygon or shift instead",
        )
    if config.confusion and "classes" not in kinds:
        raise ConfigError("confusion is a setting of the kind classes", hint="add classes to --kind")
    if vocabulary.num_classes < 2 and "pixels" in kinds:
        raise ConfigError("pixels flip between classes, but the vocabulary has only one class")
    settings: dict[str, Any] = {
        "num_classes": vocabulary.num_classes,
        "background": vocabulary.background,
        "ignore": vocabulary.ignore,
        "empty": vocabulary.ignore,
        "block_size": config.block_size,
        "false_class": config.false_class,
    }
    if config.vacated == "background" and vocabulary.background is not None:
        settings["empty"] = vocabulary.background
    if "classes" in kinds:
        file = Path(config.confusion)
        settings["confusion"] = (
            confusion_from_file(file, vocabulary) if config.confusion else look_alike_confusion(vocabulary)
        )
    return settings


def corrupt_reads_image(config: CorruptConfig) -> bool:
    """Only superpixels look at the image."""
    return any(name == "superpixel" and level > 0 for name, level in config.steps())


CORRUPT = Method(
    CorruptConfig, make_corrupt, needs=frozenset({"truth"}), reads_image=False, reads_image_for=corrupt_reads_image
)
