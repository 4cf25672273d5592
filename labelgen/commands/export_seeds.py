"""`labelgen export [RUN] --to psa`: the scores of a run as seed files that published code reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labelgen.commands.common import print_json, progress_bar, say
from labelgen.errors import DataError, RunFolderError

if TYPE_CHECKING:
    from labelgen.store import RunFolder

__all__ = ["export_seeds"]


def export_seeds(run: str, *, to: str, out: str, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Write the scores of a run as seed files, ID.npy for each image; flags as those of `labelgen export`."""
    from labelgen.seeds.export import refuse_unexportable
    from labelgen.store import RunFolder, newest_run

    source = RunFolder.open(Path(run) if run else newest_run())
    folder = Path(out or Path("seeds", f"{source.name}-{to}"))
    refuse_unexportable(source, to)
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"seed files need a folder, but {folder} is a file", hint="choose another --out")
    if folder.exists() and not overwrite and any(folder.iterdir()):
        raise RunFolderError(f"{folder} is not empty", hint="--overwrite replaces the files, another --out keeps them")
    if dry_run:
        _plan(source, to, folder, as_json=as_json)
        return
    with progress_bar("export") as progress:
        for count, sample_id in enumerate(source.ids, start=1):
            _write(source, to, sample_id, folder)
            progress(count, len(source.ids), "")
    count, failed = len(source.ids), source.header["counts"]["failed"]
    facts = {"run": source.path.as_posix(), "format": to, "files": count, "failed": failed, "out": folder.as_posix()}
    if failed:
        say(f"{failed} images of {source.path.as_posix()} failed and have no file (see its failures.jsonl)")
    if as_json:
        print_json(facts)
    else:
        print(f"{count} files of the format {to}: {folder}/ID.npy")  # noqa: T201


def _plan(source: "RunFolder", to: str, folder: Path, *, as_json: bool) -> None:
    """Write a few files into a folder that is removed."""
    from labelgen.commands.export import print_export_plan
    from labelgen.estimate import RunEstimate, estimate_writing

    def write(some: Sequence[str], place: Path) -> None:
        for sample_id in some:
            _write(source, to, sample_id, place)

    cost = estimate_writing(write, source.ids) if source.ids else RunEstimate(0, 0, 0.0, 0)
    facts = {"run": source.path.as_posix(), "format": to, "out": folder.as_posix()}
    print_export_plan(facts, cost, as_json=as_json)


def _write(source: "RunFolder", to: str, sample_id: str, folder: Path) -> None:
    """Write the file of one image."""
    from labelgen.masks import write_atomic
    from labelgen.seeds.import_seeds import seed_file
    from labelgen.seeds.legacy import Seeds, write_seeds

    mask, background = source.scores(sample_id), source.vocabulary.background
    if mask is None:
        raise DataError(f"no scores of image {sample_id!r} in {source.path}", hint="labelgen verify lists why")
    planes = dict(zip(mask.class_ids, mask.scores, strict=True))
    plane = planes.pop(background, None) if background is not None else None
    seeds = Seeds(tuple(planes), mask.scores[[i != background for i in mask.class_ids]], plane)
    try:
        write_atomic(seed_file(folder, sample_id), write_seeds(seeds, to, source.vocabulary), durable=False)
    except OSError as error:
        raise RunFolderError(f"cannot write into {folder} ({error.strerror or error})") from error
