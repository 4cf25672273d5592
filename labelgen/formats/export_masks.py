"""Write the labels of a run in the format of another tool."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from labelgen.data.dataset import Dataset
from labelgen.data.selection import read_ids
from labelgen.errors import ConfigError, DataError, RunFolderError
from labelgen.estimate import RunEstimate, estimate_writing
from labelgen.formats.format import Exported, ExportOptions, Format, Progress, Written
from labelgen.formats.table import mask_format
from labelgen.formats.target import refuse_existing
from labelgen.store import LabelSource, RunFolder
from labelgen.store.layout import check_ids

__all__ = ["choose_ids", "default_out", "estimate_export", "export_masks", "refuse_options"]


def refuse_options(name: str, options: ExportOptions) -> Format:
    """The row of a format, if it is written at all and each option has a say.

    Raises
    ------
    ConfigError
        When it is not so.
    """
    row = mask_format(name)
    if not row.write:
        raise ConfigError(f"the format {name} is only read", hint=f"labelgen import PATH --from {name}")
    if options.instances and not row.regions:
        raise ConfigError(
            f"--instances has no say for the format {name}, whose masks are whole label maps", hint="leave it out"
        )
    if options.images and row.images != "optional":
        raise ConfigError(f"--images has no say for the format {name}: images are {row.images} written")
    return row


def default_out(source: LabelSource, name: str) -> Path:
    """Where an export goes when nothing else is said."""
    return Path("exports", f"{source.name}-{name}{mask_format(name).suffix}")


def choose_ids(source: LabelSource, *, ids_file: str = "", limit: int = 0) -> tuple[str, ...]:
    """The images of a run to write: all, those of a file, the first so many.

    Raises
    ------
    RunFolderError
        When the run is not complete, or an id is no safe file name.
    DataError
        When a file names an image that has no label, or nothing is left.
    """
    if isinstance(source, RunFolder) and not source.complete:
        raise RunFolderError(
            f"only a complete run is exported, but {source.path} is unfinished ({len(source.ids)} images so far)",
            hint="give the command that makes it again; it goes on from there",
        )
    chosen: Sequence[str] = source.ids
    if ids_file:
        known = set(source.ids)
        chosen = read_ids(Path(ids_file), known)
        foreign = [i for i in chosen if i not in known]
        if foreign:
            raise DataError(
                f"{len(foreign)} ids of {ids_file} have no label in {source.path}: {', '.join(foreign[:5])}",
                hint="one id a line, without the file suffix",
            )
    chosen = tuple(chosen[: limit or None])
    if not chosen:
        raise DataError(f"no labelled image to export in {source.path}", hint="failures.jsonl there may say why")
    check_ids(chosen)  # a manifest comes from disk, and its ids become file names
    return chosen


def export_masks(
    source: LabelSource,
    name: str,
    out: Path,
    options: ExportOptions,
    *,
    ids: Sequence[str],
    dataset: Dataset | None,
    progress: Progress,
) -> Written:
    """Write labels; `out` appears when it is whole.

    Parameters
    ----------
    ids
        What `choose_ids` gave.
    dataset
        Where the images are; formats that need none take only the names of image files from it.

    Raises
    ------
    ConfigError
        When an option has no say for the format, or it cannot hold such classes.
    RunFolderError
        When something is there that may not be replaced, or `out` cannot be written.
    DataError
        When a label map or image cannot be read.
    """
    row = _refuse_target(name, out, options)
    return row.writer()(Exported(source, tuple(ids), dataset), out, options, progress)


def estimate_export(
    source: LabelSource,
    name: str,
    out: Path,
    options: ExportOptions,
    *,
    ids: Sequence[str],
    dataset: Dataset | None,
) -> RunEstimate:
    """Time and disk of an export, by one of a few images that is thrown away; nothing is written to `out`.

    Raises
    ------
    LabelgenError
        As `export_masks`, where the few images show it.
    """
    row = _refuse_target(name, out, options)
    options = replace(options, overwrite=False)

    def write(some: Sequence[str], folder: Path) -> None:
        row.writer()(Exported(source, tuple(some), dataset), folder / f"export{row.suffix}", options, _silent)

    return estimate_writing(write, ids)


def _silent(done: int, total: int, note: str) -> None:
    """Show no progress."""


def _refuse_target(name: str, out: Path, options: ExportOptions) -> Format:
    """The row of a format, if `out` can be written in it."""
    row = refuse_options(name, options)
    refuse_existing(out, folder=not row.suffix, overwrite=options.overwrite)
    if row.suffix and out.suffix.lower() != row.suffix:
        raise ConfigError(
            f"the format {name} is one file, {row.suffix}, got --out {out}", hint=f"--out {out}{row.suffix}"
        )
    return row
