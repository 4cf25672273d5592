"""Compare every file of a run folder with its manifest."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from labelgen.store.header import ids_sha256
from labelgen.store.inputs import InputCheck
from labelgen.store.layout import FAILURES, HEADER, JOURNAL, MANIFEST, files_of, kinds_in, path_of, stale_temporaries
from labelgen.store.lines import Record, encode_line
from labelgen.store.reader import RunFolder
from labelgen.store.records import FAILED_FIELDS, Records, read_lines, sha256_of_file, summarise


def verify_run(path: Path | str, *, progress: Callable[[int, int, str], None] | None = None) -> list[str]:
    """Read a run folder whole and list what is wrong with it; an empty list means that it is sound.

    Checked are run.json and its counts, the order of the manifest, the sha256 of every label, score, stroke, layer and
    distance file, that no file is missing or extra, and the sha256 of every file that was read beside the data set
    (region and saliency maps, scribbles, clicks, other runs) as far as it is still there.

    Raises
    ------
    RunFolderError
        When run.json or the manifest cannot be understood at all.
    """
    run = RunFolder.open(path)
    records = run.records()
    failed = {record["id"]: record for record in read_lines(run.path / FAILURES, FAILED_FIELDS)}
    problems = list(_summary_problems(run, records, failed))
    inputs = InputCheck()
    for number, (sample_id, record) in enumerate(records.items(), start=1):
        problems += _file_problems(run.path, sample_id, record)
        problems += [f"{path}: changed since {sample_id!r} was labelled with it" for path in inputs.changed(record)]
        if progress is not None:
            progress(number, len(records), "")
    problems += _extra_files(run.path, records)
    return problems


def _summary_problems(run: RunFolder, records: dict[str, Record], failed: dict[str, Record]) -> Iterator[str]:
    if not run.complete:
        yield f"{HEADER}: the run is not complete ({len(records)} images so far); the same command again finishes it"
        return
    if (run.path / MANIFEST).read_bytes() != b"".join(encode_line(records[i]) for i in sorted(records)):
        yield f"{MANIFEST}: lines are not those of a completed run, sorted by id"
    if summarise(Records(records, failed)) != run.header["counts"]:
        yield f"{HEADER}: counts differ from {MANIFEST}"
    if (ids := sorted([*records, *failed])) and ids_sha256(ids) != run.header["data"]["ids_sha256"]:
        yield f"{MANIFEST}: images are not those of the data set"
    if (run.path / JOURNAL).exists():
        yield f"{JOURNAL}: left behind in a complete run; the same command again removes it"


def _file_problems(folder: Path, sample_id: str, record: Record) -> Iterator[str]:
    for kind, expected in files_of(record):
        path = path_of(folder, kind, sample_id)
        try:
            found = sha256_of_file(path)
        except OSError as error:
            yield f"{path.relative_to(folder).as_posix()}: missing ({error.strerror})"
            continue
        if found != expected:
            yield f"{path.relative_to(folder).as_posix()}: changed (sha256 differs from {MANIFEST})"


def _extra_files(folder: Path, records: dict[str, Record]) -> Iterator[str]:
    for kind in kinds_in(folder):
        known = {path_of(folder, kind, i) for i, record in records.items() if kind in dict(files_of(record))}
        root = folder / kind[0]
        files = (p for p in root.rglob("*") if p.is_file()) if root.is_dir() else ()
        yield from (f"{p.relative_to(folder).as_posix()}: not in {MANIFEST}" for p in sorted(set(files) - known))
    for path in stale_temporaries(folder):
        if path.parent == folder:
            yield f"{path.name}: left behind by a killed process"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
