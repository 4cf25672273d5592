"""Whether files that were read beside the data set, such as saliency or region maps, are still what they were."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import stat_result
from pathlib import Path

from labelgen.data.inputs import InputFile, inputs_of
from labelgen.errors import RunFolderError
from labelgen.store.layout import LABELS, path_of
from labelgen.store.lines import Record

__all__ = ["InputCheck", "refuse_changed_inputs"]


@dataclass(eq=False)
class InputCheck:
    """Compares files with the hashes that records keep; each file is read once at most.

    A file that is gone is no problem: it is not needed any more, and runs travel without such files.
    """

    _hashes: dict[str, str | None] = field(default_factory=dict)

    def changed(self, record: Record, *, is_suspect: Callable[[Path], bool] = Path.is_file) -> Iterator[str]:
        """Paths of the files of one record that hold something else now.

        Parameters
        ----------
        is_suspect
            Whether a file is worth reading.
        """
        for path, sha256 in inputs_of(record["details"]).items():
            if is_suspect(Path(path)) and self._hash(path) not in (sha256, None):
                yield path

    def _hash(self, path: str) -> str | None:
        if path not in self._hashes:
            try:
                self._hashes[path] = InputFile.read(Path(path)).sha256
            except OSError:
                self._hashes[path] = None
        return self._hashes[path]


def refuse_changed_inputs(folder: Path, done: Mapping[str, Record]) -> None:
    """Refuse to go on with a run of which a file that was read has changed since its image was labelled.

    Only files that were written after the labels of their image are read, as `make` does it, so that this costs two
    looks at a directory per image; `labelgen verify` reads them all.

    Raises
    ------
    RunFolderError
        Naming the first file and image.
    """
    check = InputCheck()
    for sample_id, record in done.items():
        if not inputs_of(record["details"]):
            continue
        labels = path_of(folder, LABELS, sample_id)
        labelled = _touched(labels)

        def is_younger(path: Path, labelled: int | None = labelled) -> bool:
            touched = _touched(path)
            return touched is not None and (labelled is None or touched >= labelled)

        for path in check.changed(record, is_suspect=is_younger):
            raise RunFolderError(
                f"{path} has changed since image {sample_id!r} of {folder} was labelled with it",
                hint=f"--overwrite labels all images anew; without {labels} only this one is, another --out keeps both",
            )


def _touched(path: Path) -> int | None:
    """When a file was last written, moved here or copied here, in nanoseconds; None if it is not there."""
    try:
        status: stat_result = path.stat()
    except OSError:
        return None
    return max(status.st_mtime_ns, status.st_ctime_ns)
