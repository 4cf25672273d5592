"""`labelgen export [RUN] --to psa`: the scores of a run as seed files that published code reads."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labelgen.commands.common import Switch, print_json, progress_bar, say
from labelgen.errors import DataError, RunFolderError

__all__ = ["export_seeds"]


def export_seeds(
    run: str = "",
    /,
    *,
    to: str,
    out: str = "",
    overwrite: Switch = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Write the scores of a run as seed files of published code, ID.npy for each image.

    Background is left out where the format has none; the code that reads the files sets its own.

    Parameters
    ----------
    run
        Run folder with scores. Default: the newest run below runs/.
    to
        Format: psa (SEAM, EPS too), psa-crf, irn, irn-cam, clipes.
    out
        Folder to write. Default: seeds/RUN-FORMAT.
    overwrite
        Replace files that are already there.
    as_json
        Print one JSON document on stdout, nothing else.

    Examples
    --------
    labelgen export runs/cam --to irn
    labelgen export runs/cam --to psa --out seeds
    """
    from labelgen.masks import write_atomic
    from labelgen.seeds.export import refuse_unexportable
    from labelgen.seeds.import_seeds import seed_file
    from labelgen.seeds.legacy import Seeds, format_named, write_seeds
    from labelgen.store import RunFolder, newest_run

    format_named(to)
    source = RunFolder.open(Path(run) if run else newest_run())
    folder = Path(out or Path("seeds", f"{source.name}-{to}"))
    background = source.vocabulary.background
    refuse_unexportable(source, to)
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"seed files need a folder, but {folder} is a file", hint="choose another --out")
    if folder.exists() and not overwrite and any(folder.iterdir()):
        raise RunFolderError(f"{folder} is not empty", hint="--overwrite replaces the files, another --out keeps them")
    count = 0
    with progress_bar("export") as progress:
        for count, sample_id in enumerate(source.ids, start=1):
            mask = source.scores(sample_id)
            if mask is None:
                raise DataError(f"no scores of image {sample_id!r} in {source.path}", hint="labelgen verify lists why")
            planes = dict(zip(mask.class_ids, mask.scores, strict=True))
            plane = planes.pop(background, None) if background is not None else None
            seeds = Seeds(tuple(planes), mask.scores[[i != background for i in mask.class_ids]], plane)
            try:
                write_atomic(seed_file(folder, sample_id), write_seeds(seeds, to, source.vocabulary))
            except OSError as error:
                raise RunFolderError(f"cannot write into {folder} ({error.strerror or error})") from error
            progress(count, len(source.ids), "")
    failed = source.header["counts"]["failed"]
    facts = {"run": source.path.as_posix(), "format": to, "files": count, "failed": failed, "out": folder.as_posix()}
    if failed:
        say(f"{failed} images of {source.path.as_posix()} failed and have no file (see its failures.jsonl)")
    if as_json:
        print_json(facts)
    else:
        print(f"{count} files of the format {to}: {folder}/ID.npy")  # noqa: T201
