"""`labelgen report RUN ... --out DIR`: runs as a page to look at and to hand on."""

from pathlib import Path
from typing import TYPE_CHECKING

from labelgen.commands.common import (
    EXIT_DONE,
    JsonFlag,
    Switch,
    data_path,
    print_json,
    progress_bar,
    refuse_negative,
    say,
)
from labelgen.commands.sources import SourceFlags, distinct_names, open_scored
from labelgen.errors import ConfigError, LabelgenError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.report.measured import MeasuredRun
    from labelgen.store import LabelSource

__all__ = ["report"]

MEGABYTE = 1_000_000


def report(
    *runs: str,
    out: str = "report",
    standalone: Switch = False,
    truth: str = "",
    split: str = "",
    vocab: str = "",
    ids: str = "",
    limit: int = 0,
    worst: int = 20,
    median: int = 10,
    best: int = 5,
    max_mb: float = 5.0,
    workers: int = 0,
    as_json: JsonFlag = False,
) -> int:
    """Write a page about one or more runs: where they come from, how good they are, what they look like.

    The page is DIR/index.html with its pictures beside it. It needs no server and no network, and works without
    JavaScript. Runs without truth get a page that says how much is labelled.

    Parameters
    ----------
    runs
        Run folders, or plain folders of mask PNGs. Default: the newest run below runs/.
    out
        Folder to write.
    standalone
        Put the pictures into the page, so that it is one file.
    truth
        Data set with images and truth: demo, a path, or kind:path. Default: the data that the run was made from.
    split
        Part of the data set: train, val, ... Default: that of the run.
    vocab
        Vocabulary of truth and of plain folders. Default: that of the data.
    ids
        File with one image id a line; only these are scored.
    limit
        Score only the first N images; 0 for all.
    worst
        How many images with the lowest mIoU to show, at most; several runs share them.
    median
        How many in the middle.
    best
        How many with the highest mIoU.
    max_mb
        Megabytes of page and pictures together, about; images are left out beyond.
    workers
        Threads; 0 for one per core.

    Examples
    --------
    labelgen report
    labelgen report runs/cam runs/cam-crf --out report/crf --standalone
    labelgen report labels --truth voc:VOCdevkit/VOC2012 --vocab voc --worst 40
    """
    refuse_negative(worst=worst, median=median, best=best, workers=workers, limit=limit)
    if not 0.5 <= max_mb < float("inf"):
        raise ConfigError(f"--max-mb must be at least 0.5, got {max_mb:g}", hint="tables and plots need some room")

    from labelgen.report.gallery import GalleryOptions
    from labelgen.report.html import refuse_foreign_page
    from labelgen.report.site import INDEX, ReportOptions, write_report
    from labelgen.store import newest_run

    folder = Path(out)
    refuse_foreign_page(folder / INDEX)
    paths = [Path(run) for run in runs] or [newest_run()]
    data = SourceFlags(data=truth, split=split, vocab=vocab, ids=ids, limit=limit)
    opened = [_open(path, data) for path in paths]
    names = distinct_names(paths, [source for source, _, _ in opened])
    found = []
    for name, path, parts in zip(names, paths, opened, strict=True):
        found.append(_measure(name, path, *parts, is_subset=bool(limit or ids), workers=workers))
    options = ReportOptions(GalleryOptions(worst, median, best), standalone, int(max_mb * MEGABYTE))
    written = write_report(folder, found, options)
    size = written.page_bytes + written.picture_bytes
    if as_json:
        scores = [{"run": run.name, "miou": run.document["miou"] if run.document else None} for run in found]
        facts = {"page": written.page.as_posix(), "pictures": written.pictures, "bytes": size, "runs": scores}
        print_json(facts)
    else:
        text = f"{data_path(written.page)}: {len(found)} {'run' if len(found) == 1 else 'runs'}"
        print(f"{text}, {written.pictures} pictures, {size / MEGABYTE:.1f} MB")  # noqa: T201
    return EXIT_DONE


def _open(path: Path, data: SourceFlags) -> "tuple[LabelSource, Dataset | None, str]":
    """Labels, their data set, and why there is none: a run may outlive its images."""
    from labelgen.store import RunFolder

    try:
        return *open_scored(path, data), ""
    except LabelgenError as error:
        if data.data or not (path / "run.json").is_file():
            raise
        run = RunFolder.open(path)  # what is wrong with the run itself is still an error
        say(f"warning: the data of {path} cannot be opened, so there are neither images nor truth: {error.message}")
        return run, None, error.message


def _measure(
    name: str,
    path: Path,
    source: "LabelSource",
    dataset: "Dataset | None",
    why_not: str,
    *,
    is_subset: bool,
    workers: int,
) -> "MeasuredRun":
    from labelgen.report.measured import measured

    with progress_bar(f"report {name}") as progress:
        run = measured(
            source,
            dataset,
            name=name,
            path=path.as_posix(),
            why_not=why_not,
            is_subset=is_subset,
            workers=workers,
            progress=progress,
        )
    if run.why_not and not why_not:
        say(f"{name}: no truth to compare with ({run.why_not}); the page says how much is labelled")
    return run
