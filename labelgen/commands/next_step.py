"""What to type after a run: quality where there is truth for its classes, else a probe and a look at a picture."""

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any

from labelgen.commands.common import CommonFlags, data_path
from labelgen.data.dataset import Dataset
from labelgen.errors import DataError
from labelgen.methods.method import Method
from labelgen.vocab import Vocabulary

__all__ = ["can_be_scored", "next_steps", "preview_command"]


def next_steps(
    dataset: Dataset, vocabulary: Vocabulary, out: Path, *, name: str, method: Method, config: Any, flags: CommonFlags
) -> list[tuple[str, str]]:
    """Rows of the report: a word and the command.

    Parameters
    ----------
    vocabulary
        Of the labels.
    """
    if can_be_scored(dataset, vocabulary):
        return [("next", f"labelgen quality {data_path(out)}")]
    rows = [("next", f"segprobe fit {data_path(out)}")]
    look = preview_command(dataset, name=name, config=config, flags=flags)
    return rows if method.supervision(config) or not look else [*rows, ("or", look)]


def can_be_scored(dataset: Dataset, vocabulary: Vocabulary) -> bool:
    """Whether `labelgen quality` would find truth for these labels: of the first image, in the same classes."""
    from labelgen.quality.match import why_unscored

    return not why_unscored(vocabulary, dataset)


def preview_command(dataset: Dataset, *, name: str, config: Any, flags: CommonFlags) -> str:
    """The command that looks at the first image with the same settings; empty where it cannot be typed."""
    picture = _picture(dataset)
    if not picture:
        return ""
    words = ["labelgen", "preview", picture, *(() if name == "clip" else ("--method", name))]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "classes" and value:
            words += ["--classes", value]
        elif value != field.default:
            words += ["--set", f"{field.name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"]
    words += ["--vocab", flags.vocab] if flags.vocab else []
    words += [word for refiner in flags.refine for word in ("--refine", refiner)]
    words += ["--seed", str(flags.seed)] if flags.seed else []
    return shlex.join(words)


def _picture(dataset: Dataset) -> str:
    """The first image as `labelgen preview` wants it."""
    if dataset.spec.kind == "demo":
        return f"demo:{dataset.ids[0]}"
    files = getattr(dataset, "images", None)
    if files is None:
        return ""
    try:
        path = files.path(dataset.ids[0])
    except DataError:
        return ""
    near = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    return Path(near).as_posix()
