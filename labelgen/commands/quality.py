"""`labelgen quality [RUN ...]`: how good are labels, measured against the truth?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_GATE,
    EngineFlags,
    Switch,
    print_json,
    progress_bar,
    refuse_negative,
    say,
)
from labelgen.commands.quality_curve import CurveFlags, curve_of, print_curves, write_curves, write_plot
from labelgen.commands.sources import SourceFlags, distinct_names, open_scored
from labelgen.engine import Engine
from labelgen.errors import ConfigError
from labelgen.quality.gates import parse_gates

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.quality.evaluate import Evaluation, QualityOptions
    from labelgen.store import LabelSource

__all__ = ["quality"]


def quality(
    *runs: str,
    truth: str = "",
    split: str = "",
    vocab: str = "",
    ids: str = "",
    limit: int = 0,
    unlabelled: Literal["miss", "exclude", "background", "error"] = "miss",
    boundary: Switch = False,
    bands: str = "",
    boundary_f1: float = 0.0,
    panoptic: Switch = False,
    calibration: Switch = False,
    per_image: str = "",
    html: str = "",
    worst: int = 5,
    fail_under: Annotated[list[str] | None, Parameter(negative="")] = None,
    workers: int = 0,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    sweep: Annotated[CurveFlags | None, Parameter(name="*", group="Threshold curve")] = None,
    where: Annotated[EngineFlags | None, Parameter(name="*", group="Engine")] = None,
) -> int:
    """Compare label maps with the truth.

    Three figures stand side by side: mIoU where unlabelled pixels are misses, mIoU over labelled pixels, and coverage.
    All are fractions of one confusion matrix over all images; void truth is not counted.

    Parameters
    ----------
    runs
        Run folders, or plain folders of mask PNGs. Default: the newest run below runs/.
    truth
        Data set with the truth: demo, a path, or kind:path. Default: the data that the run was made from.
    split
        Part of the data set: train, val, ... Default: that of the run.
    vocab
        Vocabulary of truth and of plain folders. Default: that of the data.
    ids
        File with one image id a line; only these are scored.
    limit
        Score only the first N images; 0 for all.
    unlabelled
        What a pixel without a label is in the headline and in the table of classes: an error of its true class
        (miss, as PSA and SEAM count), nothing (exclude, as EPS), background (as IRN), or not allowed (error).
    boundary
        Also measure boundary IoU (within 2 % of the diagonal of each contour).
    bands
        Also measure within so many pixels of a contour, such as 1,2,3,5,10,20.
    boundary_f1
        Also measure how much of the contours lies within this tolerance of each other: 3 is in pixels; below 1 it is a
        share of the diagonal (0.0075 is usual).
    panoptic
        Also match objects one by one (panoptic quality): instances where the truth knows them, else components.
    calibration
        Also measure how far the scores of a run are from true frequencies (ECE, NLL, Brier); needs --save-scores.
    per_image
        CSV file to write, one line per run and image.
    html
        Page to write, such as quality.html: tables, plots and how all is counted, in one file. It measures boundaries
        and, where --bands names none, usual distances from contours. labelgen report adds pictures.
    worst
        How many of the worst images to show.
    fail_under
        Demand NAME=VALUE (such as miou=0.6; several, or separated by commas); exit code 4 when a run misses one.
    workers
        Threads, or actors with --engine ray; 0 for one per core.
    as_csv
        Print one CSV line per run and class on stdout, nothing else.
    as_json
        Print one JSON document on stdout, nothing else: a list with one object per run.

    Examples
    --------
    labelgen quality
    labelgen quality runs/scribble runs/cam --boundary
    labelgen quality masks --truth voc:VOCdevkit/VOC2012 --split val --fail-under miou=0.6
    labelgen quality runs/cam --curve --json
    """
    gates = parse_gates(fail_under or ())
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other")
    refuse_negative(worst=worst, workers=workers, limit=limit)
    if any(gate.name == "boundary_miou" for gate in gates) and not boundary:
        raise ConfigError("--fail-under boundary_miou needs --boundary")
    for name, given, flag in (("boundary_f1", boundary_f1, "boundary-f1 TOLERANCE"), ("pq", panoptic, "panoptic")):
        if any(gate.name == name for gate in gates) and not given:
            raise ConfigError(f"--fail-under {name} needs --{flag}")
    data = SourceFlags(data=truth, split=split, vocab=vocab, ids=ids, limit=limit)
    sweep = sweep or CurveFlags()
    sweep.check()
    engine = (where or EngineFlags()).chosen_engine()
    if as_csv and sweep.curve and (sweep.select_on or not (sweep.curve_csv or sweep.plot)):
        what = "the threshold of --select-on" if sweep.select_on else "the threshold curve of --curve"
        raise ConfigError(
            f"--csv prints a line per class and has no place for {what}",
            hint="--curve-csv FILE writes the curve, --json prints everything",
        )

    from labelgen.quality.evaluate import QualityOptions
    from labelgen.quality.gates import failed_gates

    widths = _parse_bands(bands)
    if html:
        from labelgen.report.html import refuse_foreign_page
        from labelgen.report.measured import DISTANCES

        refuse_foreign_page(Path(html))
        widths = widths or DISTANCES
    options = QualityOptions(
        unlabelled=unlabelled,
        boundary=boundary or bool(html),
        bands=widths,
        intervals=bool(html),
        boundary_f1=boundary_f1,
        panoptic=panoptic,
        calibration=calibration,
    )
    evaluations, documents, sources = _measure(runs, data, options, sweep, workers=workers, engine=engine)
    if html:
        _write_html(Path(html), evaluations, documents, sources, is_subset=bool(limit or ids))
    if sweep.curve_csv:
        write_curves(Path(sweep.curve_csv), documents)
    if sweep.plot:
        write_plot(Path(sweep.plot), documents)
    if per_image:
        from labelgen.commands.quality_csv import write_images

        write_images(Path(per_image), evaluations)
    if as_json:
        print_json(documents)
    elif as_csv:
        from labelgen.commands.quality_csv import print_classes

        print_classes(documents)
    else:
        from labelgen.commands.quality_table import print_report

        print_report(evaluations, documents, worst=worst)
        if sweep.curve:
            print_curves(documents)
    sentences = [sentence for document in documents for sentence in failed_gates(gates, document)]
    for sentence in sentences:
        say(f"gate: {sentence}")
    return EXIT_GATE if sentences else EXIT_DONE


def _measure(
    runs: Sequence[str],
    data: SourceFlags,
    options: "QualityOptions",
    sweep: CurveFlags,
    *,
    workers: int,
    engine: Engine,
) -> "tuple[list[Evaluation], list[dict[str, Any]], list[tuple[LabelSource, Dataset]]]":
    """Score each run and say on stderr what is odd about it."""
    from labelgen.quality.document import quality_document
    from labelgen.quality.evaluate import evaluate
    from labelgen.store import RunFolder, newest_run

    paths = [Path(run) for run in runs] or [newest_run()]
    pairs = [open_scored(path, data) for path in paths]
    names = distinct_names(paths, [source for source, _ in pairs])
    evaluations, documents = [], []
    for name, path, (source, truth) in zip(names, paths, pairs, strict=True):
        with progress_bar(f"quality {name}") as progress:
            evaluation = evaluate(source, truth, options, workers=workers, engine=engine, progress=progress)
        evaluation.name = name
        header = source.header if isinstance(source, RunFolder) else {}
        document = quality_document(evaluation, supervision=header.get("supervision"))
        document |= {
            "path": path.as_posix(),
            "truth": truth.spec.to_json(),
            "method": header.get("method"),
            "state": header.get("state"),
        }
        if sweep.curve:
            document |= curve_of(source, truth, sweep, unlabelled=options.unlabelled, workers=workers, engine=engine)
        _warn(evaluation, document, subset=bool(data.limit or data.ids))
        evaluations.append(evaluation)
        documents.append(document)
    if options.calibration:
        _need_scores(documents)
    return evaluations, documents, pairs


def _write_html(
    path: Path,
    evaluations: "Sequence[Evaluation]",
    documents: Sequence[dict[str, Any]],
    sources: "Sequence[tuple[LabelSource, Dataset]]",
    *,
    is_subset: bool,
) -> None:
    from labelgen.report.html import write_page
    from labelgen.report.measured import MeasuredRun
    from labelgen.report.site import quality_page
    from labelgen.report.views import Shown

    runs = [
        MeasuredRun(
            evaluation.name, document["path"], Shown(*pair, has_truth=True), evaluation, document, is_subset=is_subset
        )
        for evaluation, document, pair in zip(evaluations, documents, sources, strict=True)
    ]
    write_page(path, quality_page(runs))
    say(f"page: {path.as_posix()}")


def _parse_bands(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--bands must be whole pixels separated by commas, got {text!r}", hint="--bands 1,3,5,10")
    return tuple(int(part) for part in parts)


def _warn(evaluation: "Evaluation", document: dict[str, Any], *, subset: bool) -> None:
    name = evaluation.name
    if document["state"] == "running":
        say(f"warning: {name} is unfinished; its missing images count as unlabelled")
    if missing := evaluation.missing:
        say(f"warning: {name} has no label for {len(missing)} images, which count as unlabelled: {_some(missing)}")
    if (extra := evaluation.extra) and not subset:
        say(f"warning: {name} has {len(extra)} labels without truth, which are left out: {_some(extra)}")


def _need_scores(documents: list[dict[str, Any]]) -> None:
    without = [document["run"] for document in documents if document["calibration"] is None]
    if len(without) == len(documents):
        raise ConfigError(f"--calibration needs scores, got none in {', '.join(without)}", hint="use --save-scores")
    for name in without:
        say(f"warning: {name} has no scores, so nothing is said about its calibration")


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
