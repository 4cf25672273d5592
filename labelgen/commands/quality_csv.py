"""Figures of `labelgen quality` as CSV: one line per class, or one line per image. Empty cells where no number is."""

import csv
import io
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from labelgen.commands.common import writing_to
from labelgen.masks import write_atomic
from labelgen.quality.evaluate import Evaluation

__all__ = ["csv_text", "image_lines", "print_classes", "write_images"]

IMAGE_COLUMNS = ("run", "id", "miou", "miou_labelled", "coverage", "pixel_accuracy", "num_classes", "missing", "missed")


def print_classes(documents: Sequence[dict[str, Any]]) -> None:
    """Print one line per run and class on stdout."""
    columns = ["run", *documents[0]["per_class"][0]]
    rows = ([document["run"], *row.values()] for document in documents for row in document["per_class"])
    sys.stdout.write(csv_text(columns, rows))


def write_images(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write one line per run and image; classes without a labelled pixel by name, separated by blanks.

    Raises
    ------
    RunFolderError
        When the file cannot be written.
    """
    rows = (row for evaluation in evaluations for row in image_lines(evaluation))
    with writing_to(path):
        write_atomic(path, csv_text(IMAGE_COLUMNS, rows).encode())


def image_lines(evaluation: Evaluation) -> Iterable[list[Any]]:
    """The cells of one run, in order of ids."""
    classes = evaluation.vocabulary.classes
    for row in evaluation.images:
        figures = (row.miou, row.miou_labelled, row.coverage, row.pixel_accuracy)
        missed = " ".join(classes[class_id].replace(" ", "_") for class_id in row.missed)
        yield [evaluation.name, row.id, *figures, row.num_classes, int(row.missing), missed]


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A heading and lines; numbers with six decimals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6f}"
    return "" if value is None else value
