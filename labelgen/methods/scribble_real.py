"""Real scribbles, read from files, then shrunk and dropped like synthetic ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.inputs import InputFile, with_input
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError
from labelgen.geometry.pens import PENS
from labelgen.geometry.rasterise import draw_inside
from labelgen.masks import LabelMap, SoftMask, label_dtype, one_hot
from labelgen.methods.scribble import ScribbleConfig
from labelgen.methods.scribble_fate import meet_fate
from labelgen.methods.scribble_files import PaintedStroke, parse_painted, parse_scribble_xml, read_scribble_file
from labelgen.strokes import Stroke
from labelgen.vocab import Vocabulary

__all__ = ["make_real_scribble"]


def make_real_scribble(config: ScribbleConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator that reads DIR/<id>.xml or DIR/<id>.png and applies shrink and drop."""
    folder = Path(config.from_xml or config.from_png)
    if not folder.is_dir():
        flag = "--from-xml" if config.from_xml else "--from-png"
        raise ConfigError(f"{flag} must name a folder with one file per image, got {folder}")
    return _from_xml(folder, config, vocabulary) if config.from_xml else _from_png(folder, config, vocabulary)


def _from_xml(folder: Path, config: ScribbleConfig, vocabulary: Vocabulary) -> Generate:
    draw, width = PENS[config.pen], float(config.width or 0)

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        file = read_scribble_file(folder / f"{sample.id}.xml", flag="--from-xml")
        where = str(file.path)
        full = parse_scribble_xml(file.content, vocabulary, size=sample.size, width=width, where=where)
        strokes = meet_fate(full, rng.uniform(size=(len(full), 2)), config)
        labels = _blank(sample.size, vocabulary.ignore)
        for stroke in strokes:  # later strokes overwrite earlier ones
            if not stroke.dropped:
                labels[draw(stroke.points, width=stroke.width, size=sample.size)] = stroke.class_id
        return _result(labels, strokes, file, vocabulary)

    return generate


def _from_png(folder: Path, config: ScribbleConfig, vocabulary: Vocabulary) -> Generate:
    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        file = read_scribble_file(folder / f"{sample.id}.png", flag="--from-png")
        painted = parse_painted(file.content, vocabulary, size=sample.size, where=str(file.path))
        full = [entry.stroke for entry in painted]
        strokes = meet_fate(full, rng.uniform(size=(len(full), 2)), config)
        labels = _blank(sample.size, vocabulary.ignore)
        for stroke, entry in zip(strokes, painted, strict=True):
            if not stroke.dropped:
                _repaint(labels, stroke, entry, whole=config.shrink == 0)
        return _result(labels, strokes, file, vocabulary)

    return generate


def _repaint(labels: LabelMap, stroke: Stroke, entry: PaintedStroke, *, whole: bool) -> None:
    """Paint all pixels of a whole stroke as they were, or of a shrunk one those that its line still reaches."""
    (top, left), (height, width) = entry.origin, entry.pixels.shape
    pixels = entry.pixels
    if not whole:
        pixels = draw_inside(stroke.points - entry.origin, width=stroke.width, region=entry.pixels)
    labels[top : top + height, left : left + width][pixels] = stroke.class_id


def _blank(size: tuple[int, int], ignore: int) -> LabelMap:
    return np.full(size, ignore, label_dtype(ignore))


def _result(labels: LabelMap, strokes: Sequence[Stroke], file: InputFile, vocabulary: Vocabulary) -> SoftMask:
    drawn = {stroke.class_id for stroke in strokes if not stroke.dropped}
    lost = sorted({stroke.class_id for stroke in strokes} - drawn)
    details: dict[str, Any] = {
        "strokes": sum(not stroke.dropped for stroke in strokes),
        "dropped": sum(stroke.dropped for stroke in strokes),
        "classes_lost": [vocabulary.classes[class_id] for class_id in lost],
    }
    details = with_input(details, file)
    warnings = () if drawn else ("no stroke in this image",)
    return one_hot(labels, ignore=vocabulary.ignore, strokes=strokes, warnings=warnings, details=details)
