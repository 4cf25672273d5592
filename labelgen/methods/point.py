"""Clicks: one-pixel labels, sampled from ground truth or read from files of real human clicks."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from labelgen.data.inputs import INPUTS
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask, one_hot
from labelgen.methods.method import Method
from labelgen.vocab import Vocabulary

__all__ = ["POINT", "PointConfig", "make_point"]


@dataclass(frozen=True)
class PointConfig:
    """Clicks per class, component or instance, sampled from ground truth or read from real clicks.

    A click always lands on its own class, and its disk is clipped to the pixels of that class. Real clicks
    (`from_json`) are drawn as they are, right or wrong, because the ground truth is not looked at.

    Parameters
    ----------
    per
        What gets clicks: each class of the image, each 8-connected component, or each annotated instance (pixels
        without an instance count by component).
    n
        Clicks per target; a target of fewer pixels gets one on each of them.
    where
        random: anywhere; centre: farthest from the boundary; inner: farther than 1/1.7 of that; border: within a
        tenth of sqrt(area); extreme: the topmost, bottommost, leftmost and rightmost pixel (four clicks, n has no
        say).
    background
        Clicks on the background class of each image, farther than 5 pixels from all else where there is such a
        place; 0 for none. With `from_json`, 0 leaves out the background clicks of the files and 1 keeps them all.
    radius
        Radius in pixels of the disk that is drawn; 0 is a single pixel.
    sigma
        Standard deviation in pixels of human jitter. A jittered click that leaves its target is drawn again, ten
        times at most, and then stays where it was.
    min_area
        Targets of fewer pixels get no click; a class lost by this is named in the manifest.
    drop
        Probability in [0, 1] that a click is left out; its geometry is kept.
    from_json
        Files of real clicks `{id: [{x, y, cls, rank}]}`, x = column and y = row in pixels; several are merged.
        Several may also be given as FILE,FILE2.

    Raises
    ------
    ConfigError
        When a value is out of range, or a sampling option is combined with `from_json`.

    Examples
    --------
    labelgen point
    labelgen point --per instance --where inner --radius 3
    labelgen point voc:VOCdevkit/VOC2012 --split train --from-json clicks.json
    """

    per: Literal["class", "component", "instance"] = "class"
    n: int = 1
    where: Literal["random", "centre", "inner", "border", "extreme"] = "random"
    background: int = 1
    radius: float = 0.0
    sigma: float = 0.0
    min_area: int = 0
    drop: float = 0.0
    from_json: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = (self.from_json,) if isinstance(self.from_json, str) else self.from_json
        object.__setattr__(self, "from_json", tuple(given))
        self._check_choice("per", ("class", "component", "instance"))
        self._check_choice("where", ("random", "centre", "inner", "border", "extreme"))
        _check(self.n >= 1, f"n must be >= 1 click, got {self.n}")
        _check(
            self.n == 1 or self.where != "extreme", f"extreme gives four clicks per target, got n = {self.n} as well"
        )
        _check(self.background >= 0, f"background must be >= 0 clicks, got {self.background}")
        _check(0 <= self.radius <= 1000, f"radius must lie in [0, 1000] pixels, got {self.radius}")
        _check(0 <= self.sigma <= 1000, f"sigma must lie in [0, 1000] pixels, got {self.sigma}")
        _check(self.min_area >= 0, f"min_area must be >= 0 pixels, got {self.min_area}")
        _check(0 <= self.drop <= 1, f"drop must be a probability in [0, 1], got {self.drop}")
        if self.from_json:
            self._refuse_sampling()

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        _check(value in choices, f"{name} must be one of {', '.join(choices)}, got {value!r}")

    def _refuse_sampling(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name in ("per", "n", "where", "sigma", "min_area"):
            _check(
                getattr(self, name) == defaults[name],
                f"{name} samples clicks from ground truth and cannot be combined with from_json",
            )
        _check(self.background <= 1, f"background must be 0 or 1 with from_json, got {self.background}")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message, hint="see labelgen point --help")


def make_point(config: PointConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; with `from_json` the click files are read and checked here, once."""
    return _make_human(config, vocabulary) if config.from_json else _make_synthetic(config, vocabulary)


def _make_synthetic(config: PointConfig, vocabulary: Vocabulary) -> Generate:
    from labelgen.methods.point_kernels import clicks_in, draw_clicks, mark_dropped
    from labelgen.methods.targets import regions_in

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        truth = sample.need_truth()
        regions = regions_in(sample, config.per, vocabulary)
        strokes, skipped = clicks_in(
            regions,
            n=config.n,
            where=config.where,
            background=vocabulary.background,
            num_background=config.background,
            sigma=config.sigma,
            min_area=config.min_area,
            width=pen_width(config.radius),
            rng=rng,
        )
        strokes = mark_dropped(strokes, drop=config.drop, rng=rng)
        labels = draw_clicks(strokes, size=sample.size, ignore=vocabulary.ignore, inside=truth)
        present = {region.class_id for region in regions}
        if config.background == 0:
            present.discard(vocabulary.background)
        details = {"clicks": sum(not s.dropped for s in strokes), "regions_skipped": skipped}
        return _result(labels, strokes, present, vocabulary, details, [])

    return generate


def _make_human(config: PointConfig, vocabulary: Vocabulary) -> Generate:
    from labelgen.methods.point_files import clicks_to_strokes, read_clicks
    from labelgen.methods.point_kernels import draw_clicks, mark_dropped

    paths = file_list(config.from_json)
    files = [read_clicks(path, vocabulary) for path in paths]

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        holders = [file for file in files if sample.id in file.clicks]
        if not holders:
            raise DataError(
                f"no clicks for {sample.id} in {', '.join(file.name for file in files)}",
                hint="select the ids that have clicks with --ids, or take these failures as they are",
            )
        clicks = [click for file in holders for click in file.clicks[sample.id]]
        # Background first, so that a click on an object wins where two disks meet.
        back = [click for click in clicks if click.class_id == vocabulary.background]
        clicks = back * config.background + [c for c in clicks if c.class_id != vocabulary.background]
        strokes, outside = clicks_to_strokes(clicks, size=sample.size, width=pen_width(config.radius))
        strokes = mark_dropped(strokes, drop=config.drop, rng=rng)
        labels = draw_clicks(strokes, size=sample.size, ignore=vocabulary.ignore)
        warnings = [f"no entry in {file.name}" for file in files if file not in holders]
        if outside:
            warnings.append(f"{outside} click(s) outside the image were moved to its edge")
        present = {stroke.class_id for stroke in strokes}
        details = {
            "clicks": sum(not s.dropped for s in strokes),
            INPUTS: {file.path.as_posix(): file.sha256 for file in holders},
        }
        return _result(labels, strokes, present, vocabulary, details, warnings)

    return generate


def _result(labels, strokes, present: set[int], vocabulary: Vocabulary, details: dict, warnings: list[str]) -> SoftMask:
    lost = sorted(present - {s.class_id for s in strokes if not s.dropped})
    details["classes_lost"] = [vocabulary.classes[class_id] for class_id in lost]
    if not any(not stroke.dropped for stroke in strokes):
        warnings = [*warnings, "no click in this image"]
    return one_hot(labels, ignore=vocabulary.ignore, strokes=strokes, warnings=warnings, details=details)


def pen_width(radius: float) -> float:
    """Diameter of the pen that draws a disk of this radius; a single pixel has the diameter 1."""
    return max(1.0, 2.0 * radius)


def file_list(entries: tuple[str, ...]) -> tuple[Path, ...]:
    """Paths out of entries that may hold several, separated by commas; an existing file with a comma stays whole.

    Examples
    --------
    >>> [path.name for path in file_list(("a.json,b.json", "c.json"))]
    ['a.json', 'b.json', 'c.json']
    """
    paths: list[Path] = []
    for entry in entries:
        parts = [entry] if Path(entry).is_file() else [part.strip() for part in entry.split(",") if part.strip()]
        paths.extend(Path(part) for part in parts)
    return tuple(paths)


def point_needs(config: PointConfig) -> frozenset[str]:
    """Real clicks are strokes that someone drew; sampled ones come from the ground truth."""
    return frozenset({"strokes"}) if config.from_json else frozenset({"truth"})


POINT = Method(PointConfig, make_point, needs=frozenset({"truth"}), reads_image=False, needs_for=point_needs)
