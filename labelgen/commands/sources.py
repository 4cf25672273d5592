"""Labels that a command line names, and the data set with their images or their truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset, DataSpec
    from labelgen.store import LabelSource, MaskFolder, RunFolder

__all__ = ["SourceFlags", "distinct_names", "open_scored", "open_source"]


@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """Where labels and their images are.

    Parameters
    ----------
    data
        Where the images are: demo, a path, or kind:path. Default: the data that the run was made from. A plain folder
        of masks needs it.
    split
        Part of the data set. Default: that of the run.
    vocab
        Vocabulary of a plain folder of masks. Default: that of the data.
    ids
        File with one image id a line; only these.
    limit
        Only the first N images; 0 for all.
    """

    data: str = ""
    split: str = ""
    vocab: str = ""
    ids: str = ""
    limit: int = 0


def open_source(path: Path, flags: SourceFlags) -> "tuple[RunFolder | MaskFolder, Dataset]":
    """Labels, and the data set that their images are in.

    Raises
    ------
    ConfigError
        When a plain folder comes without --data, or --vocab is given for a run, which knows its own.
    RunFolderError, DataError
        When one of them cannot be opened.
    """
    from labelgen.data.dataset import DataSpec
    from labelgen.data.open import parse_source, reopen
    from labelgen.store import RunFolder

    if _is_plain(path):
        if not flags.data:
            raise ConfigError(
                f"{path} is no run but a plain folder, so its images must be named",
                hint="--data demo, or --data voc:DIR",
            )
        return _open_plain(path, flags)
    run = RunFolder.open(path)
    if flags.vocab:
        raise ConfigError(
            f"--vocab is for plain folders of masks, but {path} is a run of vocabulary {run.vocabulary.name!r}",
            hint="leave it out",
        )
    spec = run.spec or DataSpec(kind="")
    if flags.data:
        kind, root = parse_source(flags.data)
        same = spec if spec.kind == kind else DataSpec(kind=kind, vocabulary=spec.vocabulary)
        spec = replace(same, kind=kind, root=root)
    ids_file = str(Path(flags.ids).expanduser().resolve()) if flags.ids else spec.ids_file
    limits = [limit for limit in (flags.limit, spec.limit) if limit]
    spec = replace(spec, split=flags.split or spec.split, ids_file=ids_file, limit=min(limits, default=0))
    return run, reopen(spec)


def open_scored(path: Path, flags: SourceFlags) -> "tuple[LabelSource, Dataset]":
    """Labels, and the truth to score them against.

    Parameters
    ----------
    flags
        Their data is the truth; `ids` and `limit` say what is scored.

    Raises
    ------
    ConfigError
        When nothing says where the truth is.
    RunFolderError, DataError
        When labels or truth cannot be opened.
    """
    from labelgen.data.open import open_data, parse_source, reopen
    from labelgen.store import RunFolder

    if _is_plain(path):
        if not flags.data:
            raise ConfigError(
                f"{path} is no run but a plain folder, so its truth must be named",
                hint="--truth demo, or --truth voc:DIR",
            )
        return _open_plain(path, flags)
    run = RunFolder.open(path)
    spec = run.spec
    if flags.data:
        kind, _ = parse_source(flags.data)
        spec = _refined(spec if spec is not None and spec.kind == kind else None, flags)
        return run, open_data(
            flags.data, split=spec.split, vocabulary=spec.vocabulary, ids_file=spec.ids_file, limit=spec.limit
        )
    if spec is None:
        raise ConfigError(f"{path} does not say what data it was made from", hint="name the truth: --truth voc:DIR")
    return run, reopen(_refined(spec, flags))


def _refined(spec: "DataSpec | None", flags: SourceFlags) -> "DataSpec":
    """What a run says about its data, with what the command line says instead."""
    from labelgen.data.dataset import DataSpec

    spec = spec or DataSpec(kind="")
    return replace(
        spec,
        split=flags.split or spec.split,
        vocabulary=flags.vocab or spec.vocabulary,
        ids_file=str(Path(flags.ids).resolve()) if flags.ids else spec.ids_file,
        limit=flags.limit or spec.limit,
    )


def _is_plain(path: Path) -> bool:
    """Whether it is a folder of masks rather than a run; a path that is not there is none."""
    return path.is_dir() and not (path / "run.json").exists()


def _open_plain(path: Path, flags: SourceFlags) -> "tuple[RunFolder | MaskFolder, Dataset]":
    """A folder of masks and the data that were named for it, in the classes that were named or of the data."""
    from labelgen.data.open import open_data
    from labelgen.store import open_labels
    from labelgen.vocab import load_vocabulary

    dataset = open_data(flags.data, split=flags.split, vocabulary=flags.vocab, ids_file=flags.ids, limit=flags.limit)
    vocabulary = load_vocabulary(flags.vocab) if flags.vocab else dataset.vocabulary
    return open_labels(path, vocabulary=vocabulary), dataset


def distinct_names(paths: Sequence[Path], sources: "Sequence[LabelSource]") -> list[str]:
    """Names of runs; their paths where two have one name."""
    names = [source.name for source in sources]
    return [path.as_posix() if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]
