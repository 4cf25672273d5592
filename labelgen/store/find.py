"""Find a run: the one that a path names, or the newest."""

from collections.abc import Collection
from pathlib import Path

from labelgen.errors import RunFolderError
from labelgen.store.header import read_header
from labelgen.store.layout import HEADER
from labelgen.store.reader import MaskFolder, RunFolder
from labelgen.vocab import Vocabulary

SHOWN_RUNS = 3  # names in a message
HOW_TO_BEGIN = "make one: labelgen clip (needs class names and no truth), or labelgen scribble (needs truth)"


def open_labels(path: Path | str, *, vocabulary: Vocabulary | None = None) -> RunFolder | MaskFolder:
    """Open a run folder, or a plain folder of mask PNGs as if it were one.

    Parameters
    ----------
    vocabulary
        Meaning of the ids of a plain folder. A run folder knows its own, which stands.

    Raises
    ------
    RunFolderError
        When it is neither, or a plain folder comes without vocabulary.
    """
    path = Path(path)
    if (path / HEADER).exists():
        return RunFolder.open(path)
    if path.is_dir() and vocabulary is None:
        raise RunFolderError(
            f"a plain folder of masks needs a vocabulary, got none for {path}", hint="give --vocab, such as --vocab voc"
        )
    if not path.is_dir() or vocabulary is None:
        raise RunFolderError(f"no such run or folder: {path}", hint=HOW_TO_BEGIN)
    return MaskFolder(path, vocabulary=vocabulary)


def newest_run(root: Path = Path("runs"), *, but: str = "", among: Collection[str] = ()) -> Path:
    """The complete run below `root` whose run.json is the youngest; runs still unfinished are passed over.

    Parameters
    ----------
    but
        Runs of this method are passed over, too.
    among
        Runs of other methods than these are passed over, too; empty for any.

    Raises
    ------
    RunFolderError
        When there is none; unfinished runs are named.
    """
    found = sorted(root.glob(f"*/{HEADER}"), key=lambda p: (p.stat().st_mtime_ns, p.parent.name), reverse=True)
    unfinished = []
    for header in found:
        content = read_header(header.parent)
        if (but and content["method"] == but) or (among and content["method"] not in among):
            continue
        if content["state"] == "complete":
            return header.parent
        unfinished.append(header.parent)
    if unfinished:
        names = ", ".join(map(str, unfinished[:SHOWN_RUNS]))
        raise RunFolderError(
            f"no complete run below {root}; unfinished: {names}", hint="give the same command again to finish it"
        )
    if found:
        made = (
            f"no run below {root} is by {' or '.join(among)}" if among else f"all runs below {root} are made by {but}"
        )
        raise RunFolderError(made, hint="name the run")
    elsewhere = sorted(p.parent for pattern in ("*", "*/*") for p in root.parent.glob(f"{pattern}/{HEADER}"))
    elsewhere += sorted(p.parent for p in root.glob(f"*/*/{HEADER}"))
    if elsewhere:
        more = ", ..." if len(elsewhere) > SHOWN_RUNS else ""
        names = ", ".join(path.as_posix() for path in elsewhere[:SHOWN_RUNS]) + more
        raise RunFolderError(f"no run below {root}", hint=f"there are runs at {names}; name one")
    raise RunFolderError(f"no run below {root}", hint=HOW_TO_BEGIN)
