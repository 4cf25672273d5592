"""Flags and printing that commands share, those of segprobe included."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from labelgen.commands.frame import (
    EXIT_DONE,
    EXIT_ERROR,
    EXIT_GATE,
    EXIT_SOME_FAILED,
    say_error,
)
from labelgen.commands.progress import progress_bar
from labelgen.data.dataset import Dataset
from labelgen.engine import Engine
from labelgen.errors import ConfigError, RunFolderError
from labelgen.run import RunOptions

__all__ = [
    "EXIT_DONE",
    "EXIT_ERROR",
    "EXIT_GATE",
    "EXIT_SOME_FAILED",
    "CommonFlags",
    "DataFlags",
    "EngineFlags",
    "ImageFlags",
    "JsonFlag",
    "RunFlags",
    "Switch",
    "data_path",
    "open_dataset_from",
    "parse_shard",
    "print_json",
    "print_table",
    "progress_bar",
    "refuse_negative",
    "say",
    "say_error",
    "writing_to",
]

TABLE_WIDTH = 160  # columns where stdout is not a terminal, so that nothing is cut off

Switch = Annotated[bool, Parameter(negative="")]
JsonFlag = Annotated[
    bool, Parameter(name="--json", negative="", help="Print one JSON document on stdout, nothing else.")
]


@dataclass(frozen=True, kw_only=True)
class ImageFlags:
    """Which images.

    Parameters
    ----------
    split
        Part of the data set: train, val, ...
    ids
        File with one image id a line; only these.
    limit
        Only the first N images; 0 for all.
    """

    split: str = ""
    ids: str = ""
    limit: int = 0


@dataclass(frozen=True, kw_only=True)
class DataFlags(ImageFlags):
    """Which images, and what is known of them.

    Parameters
    ----------
    vocab
        Vocabulary of the labels: a name out of `labelgen vocabs`, or a .toml file. Default: that of the data.
    tags
        File of image-level tags (JSON, CSV, or cls_labels.npy). Default: derived from the truth.
    """

    vocab: str = ""
    tags: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """Where the work is done.

    Parameters
    ----------
    engine
        local: processes of this machine; ray: actors of a Ray cluster, as many as --workers.
    ray_address
        Address of the cluster: HOST:PORT; auto for the one that this machine belongs to; local for one that is started
        for this command. Default: $RAY_ADDRESS, else local.
    ray_gpus
        GPUs of each actor, such as 0.5. Default: those of the cluster shared evenly where the device is CUDA, else 0.
    """

    engine: Literal["local", "ray"] = "local"
    ray_address: str = ""
    ray_gpus: float | None = None

    def chosen_engine(self) -> Engine:
        """The engine that these flags name."""
        return Engine(self.engine, self.ray_address, self.ray_gpus)


@dataclass(frozen=True, kw_only=True)
class RunFlags(EngineFlags):
    """Flags of every command that writes a run.

    Parameters
    ----------
    out
        Run folder to write. Default: runs/METHOD, with cam that of its --method.
    workers
        Processes, or actors with --engine ray; the result is the same for any number.
    shard
        Label only part i of n, as `i/n`; the last shard to finish completes the run.
    overwrite
        Replace a run that is already there.
    strict
        Stop at the first image that cannot be labelled.
    save_scores
        Keep the scores beside the labels.
    sheet
        Draw contact_sheet.jpg, some of the images with their labels, when the run is complete.
    dry_run
        Label a few images to say what would be done, how long it would take and how much disk; write nothing.
    """

    out: str = ""
    workers: int = 1
    shard: str = "1/1"
    overwrite: Switch = False
    strict: Switch = False
    save_scores: Switch = False
    sheet: bool = True
    dry_run: Switch = False
    as_json: JsonFlag = False

    def run_options(self) -> RunOptions:
        """The part that the runner needs."""
        return RunOptions(
            workers=self.workers,
            shard=parse_shard(self.shard),
            overwrite=self.overwrite,
            save_scores=self.save_scores,
            strict=self.strict,
            engine=self.chosen_engine(),
        )


@dataclass(frozen=True, kw_only=True)
class CommonFlags(RunFlags, DataFlags):
    """Flags of every command that labels images.

    Parameters
    ----------
    seed
        Seed of all randomness.
    refine
        Repair each mask: crf, pamr, par, walk, attention, affinity, regions, debias or band, with options as
        NAME:ARGUMENT,key=value (crf:deeplab, walk:colour, regions:slic, attention:BACKBONE); several are applied in
        their order. labelgen refiners NAME lists the settings.
    """

    seed: int = 0
    refine: tuple[str, ...] = ()

    def run_options(self) -> RunOptions:
        """The part that the runner needs."""
        return replace(super().run_options(), seed=self.seed)


def open_dataset_from(flags: DataFlags, data: str = "demo") -> Dataset:
    """Open the data set that the command line names."""
    from labelgen.data.open import open_data

    refuse_negative(limit=flags.limit)
    return open_data(
        data, split=flags.split, vocabulary=flags.vocab, ids_file=flags.ids, limit=flags.limit, tags=flags.tags
    )


def refuse_negative(**values: int) -> None:
    """Refuse the first of several flags that is below 0.

    Raises
    ------
    ConfigError
        Naming the flag.
    """
    for name, value in values.items():
        if value < 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be >= 0, got {value}")


def parse_shard(text: str) -> tuple[int, int]:
    """Read `i/n`.

    Raises
    ------
    ConfigError
        When it is anything else.

    Examples
    --------
    >>> parse_shard("2/3")
    (2, 3)
    """
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal()):
        raise ConfigError(f"--shard must be i/n, got {text!r}", hint="--shard 1/3, then 2/3 and 3/3")
    return int(part), int(parts)


def data_path(path: Path) -> str:
    """A path as a user would type it after another command."""
    text = path.as_posix()
    return f"'{text}'" if " " in text else text


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))  # noqa: T201


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "", texts: Sequence[int] = (0,)
) -> None:
    """Print a table on stdout: columns of text, such as the first, to the left, the rest to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH, highlight=False)
    if title:  # by itself: a title of the table would be cut to its width, and paths in it could not be copied
        console.print(Text(title, style="table.title"), soft_wrap=True)
    table = Table(show_header=any(columns), pad_edge=False, box=_box())
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number in texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(value).replace("[", "\\[") for value in row))
    console.print(table)


def _box() -> Any:
    from rich import box

    return box.SIMPLE_HEAD


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into the error of a file that cannot be written.

    Raises
    ------
    RunFolderError
        Naming the file.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"cannot write {path} ({error.strerror or error})", hint="choose another file") from error


def say(text: str) -> None:
    """Print a sentence on stderr."""
    print(text, file=sys.stderr)  # noqa: T201
