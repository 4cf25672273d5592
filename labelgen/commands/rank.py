"""`labelgen rank [RUN]`: which images and classes of a run are the most suspicious, without looking at truth."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from labelgen.commands.common import EXIT_DONE, JsonFlag, print_json, progress_bar, refuse_negative, say, writing_to
from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.quality.suspicion import Suspicion
    from labelgen.store import LabelSource, RunFolder

__all__ = ["rank"]

By = Literal[
    "auto",
    "combined",
    "probe",
    "region",
    "given",
    "softmin",
    "confident",
    "agreement",
    "confidence",
    "margin",
    "entropy",
]


def rank(
    run: str = "",
    /,
    *,
    by: By = "auto",
    probe: str = "",
    against: str = "",
    truth: str = "",
    bad_below: float = 0.5,
    split: str = "",
    vocab: str = "",
    top: int = 20,
    write_ids: str = "",
    workers: int = 0,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    as_json: JsonFlag = False,
) -> int:
    """List the images and classes whose labels are the most suspicious.

    No truth is needed. What there is to judge by decides which scores there are; all of them are computed, --by chooses
    the one that sorts:

    from the run's own scores (--save-scores): confidence, margin, entropy. From other labels (--against): agreement.
    From out-of-sample predictions (--probe): probe, the overlap of labels and predictions relative to what is usual for
    the classes of the image, which sees wrong outlines; region, how much more the labelled regions, each as a whole,
    look like their class than like another one, which sees wrong classes; combined, both; given, the mean probability
    of the given label; softmin, the same leaning towards the worst pixels; confident, the share of pixels that
    confident learning takes for wrong.

    With --truth, or for a run of `labelgen corrupt --images SHARE`, it also says how well each score ranks.

    Parameters
    ----------
    run
        Run folder, or plain folder of mask PNGs. Default: the newest run below runs/ that is no crossfit.
    by
        The score to sort by. Default: combined (probe where no region is known) of predictions, else agreement,
        else confidence.
    probe
        Run of out-of-sample predictions with scores, as segprobe crossfit RUN makes it.
    against
        Run folder, or folder of masks, with other labels of the same images.
    truth
        Data set with the truth, demo, a path, or kind:path: say how well each score ranks the images by their IoU.
    bad_below
        With --truth: an image is bad when its mean IoU over labelled pixels is below this.
    split
        With --truth: part of the data set. Default: that of the run.
    vocab
        Vocabulary of plain folders of masks, and of the truth. Default: that of the run.
    top
        How many images to list; 0 for all.
    write_ids
        File to write with the ids of the listed images, one a line, as --ids of other commands reads them.
    workers
        Threads; 0 for one per core.
    as_csv
        Print one CSV line per listed image on stdout, nothing else.

    Examples
    --------
    labelgen rank runs/cam --probe runs/cam-crossfit
    labelgen rank runs/cam --against runs/clip --top 50 --write-ids worst.txt
    labelgen rank runs/clip --by margin --truth demo --top 50
    """
    _check(as_csv=as_csv, as_json=as_json, top=top, workers=workers, bad_below=bad_below)
    if not truth and (split or bad_below != 0.5):
        raise ConfigError("--split and --bad-below are of the truth, which was not named", hint="add --truth DATA")

    from labelgen.quality.rank_document import corrupted_marks, rank_document
    from labelgen.quality.suspicion import suspicion_of
    from labelgen.store import RunFolder, newest_run

    source = _open(Path(run) if run else newest_run(but="crossfit"), vocab)
    others = _open(Path(against), vocab, beside=source) if against else None
    predictions = _predictions(Path(probe), source) if probe else None
    dataset = _truth(source, truth, split=split, vocab=vocab) if truth else None
    with progress_bar(f"rank {source.name}") as progress:
        found = suspicion_of(source, against=others, probe=predictions, workers=workers, progress=progress)
    chosen = _chosen(by, found)
    _say_missing(found)
    document = rank_document(
        found,
        by=chosen,
        top=top,
        evaluation=None if dataset is None else _evaluated(source, dataset, workers=workers),
        bad_below=bad_below,
        marks=corrupted_marks(source.records(), found.ids) if isinstance(source, RunFolder) else None,
    )
    document |= {
        "path": source.path.as_posix(),
        "probe": predictions.path.as_posix() if predictions else None,
        "against": others.path.as_posix() if others else None,
    }
    if write_ids:
        _write_ids(Path(write_ids), [row["id"] for row in document["images"]])
    if as_json:
        print_json(document)
    elif as_csv:
        _print_csv(document)
    else:
        from labelgen.commands.rank_table import print_ranking

        print_ranking(document)
    return EXIT_DONE


def _check(*, as_csv: bool, as_json: bool, top: int, workers: int, bad_below: float) -> None:
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other")
    refuse_negative(top=top, workers=workers)
    if not 0 < bad_below <= 1:
        raise ConfigError(f"--bad-below must be an IoU in (0, 1], got {bad_below}", hint="0.5 is half of the pixels")


def _open(path: Path, vocab: str, *, beside: "LabelSource | None" = None) -> "LabelSource":
    """The labels of a path; a plain folder has the classes that were typed, else those of the labels beside it."""
    from labelgen.store import open_labels
    from labelgen.vocab import load_vocabulary

    known = load_vocabulary(vocab) if vocab else beside.vocabulary if beside else None
    return open_labels(path, vocabulary=known)


def _predictions(path: Path, source: "LabelSource") -> "RunFolder":
    """The run behind --probe, with a warning when its predictions may have been learned from the very labels."""
    import hashlib

    from labelgen.store import RunFolder
    from labelgen.store.layout import MANIFEST

    run = RunFolder.open(path)
    if run.header["method"] != "crossfit":
        say(f"warning: {path} is not made by segprobe crossfit: were its predictions learned from these labels?")
        return run
    manifest = source.path / MANIFEST
    made_from = run.header.get("facts", {}).get("labels_sha256", "")
    if made_from and manifest.is_file() and hashlib.sha256(manifest.read_bytes()).hexdigest() != made_from:
        say(f"warning: {path} was made from other labels than {source.path}: {run.header['config']['labels']}")
    return run


def _truth(source: "LabelSource", text: str, *, split: str, vocab: str) -> "Dataset":
    """The truth that was named; of the data that the run was made from, the same split, ids and vocabulary."""
    from labelgen.data.dataset import DataSpec
    from labelgen.data.open import open_data, parse_source

    kind, _ = parse_source(text)
    spec = source.spec if source.spec is not None and source.spec.kind == kind else DataSpec(kind="")
    spec = replace(spec, split=split or spec.split, vocabulary=vocab or spec.vocabulary)
    return open_data(text, split=spec.split, vocabulary=spec.vocabulary, ids_file=spec.ids_file, limit=spec.limit)


def _evaluated(source: "LabelSource", dataset: "Dataset", *, workers: int) -> Any:
    from labelgen.quality.evaluate import evaluate

    with progress_bar("truth") as progress:
        return evaluate(source, dataset, workers=workers, progress=progress)


def _chosen(by: str, found: "Suspicion") -> str:
    from labelgen.quality.suspicion import SCORES

    if by == "auto":
        return next(iter(found.values))
    if by not in found.values:
        needs = {
            "probe": "predictions: --probe RUN, which segprobe crossfit makes",
            "against": "other labels: --against RUN",
            "scores": "the run's own scores, which it did not keep: make it with --save-scores",
        }[SCORES[by].needs]
        raise ConfigError(f"--by {by} needs {needs}", hint=f"here one can rank by {', '.join(found.values)}")
    return by


def _say_missing(found: "Suspicion") -> None:
    what = {"scores": "scores of their own", "against": "other labels", "probe": "predictions"}
    for name, count in found.missing.items():
        if count:
            say(f"warning: {count} of {len(found.ids)} images have no {what[name]}; they come last")


def _write_ids(path: Path, ids: list[str]) -> None:
    from labelgen.masks import write_atomic

    with writing_to(path):
        write_atomic(path, "".join(f"{sample_id}\n" for sample_id in ids).encode())


def _print_csv(document: dict[str, Any]) -> None:
    from labelgen.commands.quality_csv import csv_text

    rows = document["images"]
    columns = list(rows[0]) if rows else ["place", "id"]
    cells = ([int(value) if isinstance(value, bool) else value for value in row.values()] for row in rows)
    sys.stdout.write(csv_text(columns, cells))
