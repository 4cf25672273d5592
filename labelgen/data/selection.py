"""Which ids are used: split lists, `--ids` files, `--limit`."""

from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePosixPath

from labelgen.data.dataset import DataSpec
from labelgen.errors import ConfigError, DataError, SplitError
from labelgen.untrusted import LARGEST_INDEX, read_bounded

__all__ = ["choose_split", "id_of_line", "read_ids", "read_lines", "select_ids"]


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that are not blank, without surrounding space.

    Raises
    ------
    DataError
        When the file is missing or not UTF-8 text.
    """
    try:
        text = read_bounded(path, LARGEST_INDEX).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list of ids cannot be read: {path} ({error})", hint="one id a line, in UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_ids(path: Path, known: Container[str] = frozenset()) -> tuple[str, ...]:
    """Sorted ids of a file with one a line, in any form of `id_of_line`.

    Raises
    ------
    DataError
        As `read_lines`.
    """
    return tuple(sorted({id_of_line(line, known) for line in read_lines(path)}))


def id_of_line(line: str, known: Container[str] = frozenset()) -> str:
    """The id that a line of a list names.

    - the id itself;
    - `/JPEGImages/<id>.jpg /SegmentationClassAug/<id>.png`, as PSA and SEAM list images and masks;
    - `<id> 0 14`, as CLIP-ES lists images of COCO with their classes.

    Parameters
    ----------
    known
        Ids that exist; a line that is one of them as it stands is that id, whatever it looks like.

    Examples
    --------
    >>> id_of_line("/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png")
    '2007_000032'
    >>> id_of_line("train2014/a 0 14"), id_of_line("a 0 14", {"a 0 14"})
    ('train2014/a', 'a 0 14')
    """
    if line in known:
        return line
    if line.startswith("/"):
        name = PurePosixPath(line.split()[0])
        path = name.with_suffix("").as_posix() if name.name else "/"
        _, folder, below = path.rpartition("/JPEGImages/")
        return below if folder else path.rpartition("/")[2]
    first, *rest = line.split()
    return first if rest and all(word.isdecimal() for word in rest) else line


def choose_split(wanted: str, splits: Sequence[str], *, root: Path | str) -> str:
    """The split to open: the wanted one; else train; else the only one there is.

    Raises
    ------
    SplitError
        When the wanted one does not exist; it lists the splits.
    DataError
        When nothing was wanted and there are several without train.

    Examples
    --------
    >>> choose_split("", ["train", "val"], root="data"), choose_split("", ["val"], root="data")
    ('train', 'val')
    """
    listed = ", ".join(sorted(splits)) or "none"
    if wanted:
        if wanted not in splits:
            raise SplitError(
                f"split {wanted!r} does not exist in {root}",
                hint=f"splits there: {listed}" if splits else "it has no splits: leave --split out",
            )
        return wanted
    if "train" in splits:
        return "train"
    if len(splits) == 1:
        return next(iter(splits))
    raise DataError(f"a split must be chosen in {root}", hint=f"give --split; splits there: {listed}")


def select_ids(ids: Iterable[str], spec: DataSpec, *, splits: Sequence[str] = ()) -> tuple[str, ...]:
    """Sort the ids of a split and keep those that `spec.ids_file` and `spec.limit` leave.

    Parameters
    ----------
    splits
        The splits that exist: for messages.

    Raises
    ------
    DataError
        When nothing is left, or the file names an id that is not in the split.
    """
    if spec.limit < 0:
        raise ConfigError(f"limit must be >= 0 (0 = all), got {spec.limit}")
    known = set(ids)
    where = f"split {spec.split!r} of {spec.root or spec.kind}" if spec.split else spec.root or spec.kind
    if not known:
        listed = f"; splits there: {', '.join(sorted(splits))}" if splits else ""
        raise DataError(f"no image in {where}", hint=f"is the split list or folder empty?{listed}")
    if not spec.ids_file:
        chosen = sorted(known)
    else:
        chosen = list(read_ids(Path(spec.ids_file), known))
        foreign = [i for i in chosen if i not in known]
        if foreign:
            shown = ", ".join(foreign[:5]) + (" ..." if len(foreign) > 5 else "")
            raise DataError(
                f"{len(foreign)} ids of {spec.ids_file} are not in {where}: {shown}",
                hint="is this the right --split? one id a line, without the file suffix, or lines as PSA lists them",
            )
        if not chosen:
            raise DataError(f"no id in {spec.ids_file}", hint="one id a line")
    return tuple(chosen[: spec.limit or None])
