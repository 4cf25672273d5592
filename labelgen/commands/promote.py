"""`labelgen promote [RUN]`: scribbles and the pseudo-labels that their classes give, merged into a run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    RunFlags,
    data_path,
    print_json,
    print_table,
    progress_bar,
    refuse_negative,
)
from labelgen.commands.fit_cam import CamRecipeFlags, training_cost_rows
from labelgen.commands.generate import print_plan, print_report, say_failures
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.promote_classifier import ClassifierFlags, ClassifierMaker
from labelgen.commands.sheet import leave_sheet
from labelgen.commands.sources import SourceFlags, open_source
from labelgen.errors import ConfigError
from labelgen.promote.config import PromoteConfig

if TYPE_CHECKING:
    from labelgen.job import Job
    from labelgen.promote.tags import TaggedByScribbles
    from labelgen.store import MaskFolder, RunFolder

__all__ = ["PromoteRunFlags", "promote"]

SPARSE_METHODS = ("scribble", "point")
DENSE = 0.5  # coverage from which on labels are hardly scribbles


@dataclass(frozen=True, kw_only=True)
class PromoteRunFlags(RunFlags):
    """Flags of every command that writes a run.

    Parameters
    ----------
    out
        Run folder to write. Default: runs/RUN-promote. The classifier lies beside it, as OUT-METHOD-classifier.
    seed
        Of the training of the classifier, and of refiners that learn.
    """

    seed: int = 0


def promote(
    run: str = "",
    /,
    *,
    pseudo: str = "",
    certainty: float | None = None,
    refine: tuple[str, ...] = (),
    keep: Annotated[PromoteConfig | None, Parameter(name="*", group="Promotion")] = None,
    classifier: Annotated[ClassifierFlags | None, Parameter(name="*", group="Classifier")] = None,
    recipe: Annotated[CamRecipeFlags | None, Parameter(name="*", group="Recipe of the classifier")] = None,
    source: Annotated[SourceFlags | None, Parameter(name="*", group="Images")] = None,
    flags: Annotated[PromoteRunFlags | None, Parameter(name="*", group="Common flags")] = None,
) -> int:
    """Turn scribbles into dense labels by the classes that they name (class-driven scribble promotion).

    Image-level tags are read off the scribbles; pseudo-labels of these classes come from --pseudo, or from the class
    maps of a classifier that is trained from the tags right here; the scribbles are put over them. The run keeps both
    as the layers scribble and pseudo, beside the merged labels. The same command again goes on where it was.

    Parameters
    ----------
    run
        Run of scribbles or clicks, or a folder of such masks. Default: the newest run of scribbles or clicks.
    pseudo
        Run, or folder of masks, with pseudo-labels, such as runs/cam. Classes that an image's tags lack are removed.
    certainty
        With --pseudo: start from labels, not scores: the label of a pixel has this score, in (0.5, 1], the other
        classes of the image share the rest. For --refine; 0.7 is usual.
    refine
        Repair the pseudo-labels first, as crf:psa or pamr; several are applied in their order. Scribbles stay.

    Examples
    --------
    labelgen promote runs/scribble
    labelgen promote runs/scribble --pseudo runs/cam --refine crf
    labelgen promote runs/scribble --method seam --fit-only
    """
    source, flags, keep = source or SourceFlags(), flags or PromoteRunFlags(), keep or PromoteConfig()
    classifier, recipe = classifier or ClassifierFlags(), recipe or CamRecipeFlags()
    _refuse_contradictions(pseudo, certainty, classifier, recipe, source)

    from labelgen.promote.job import promote_job, refuse_unfinished
    from labelgen.promote.tags import TaggedByScribbles
    from labelgen.refine import parse_refiners
    from labelgen.run import run_job
    from labelgen.store import newest_run

    steps = parse_refiners(*refine)
    path = Path(run) if run else newest_run(among=SPARSE_METHODS)
    labels, dataset = open_source(path, source)
    refuse_unfinished(labels)
    out = Path(flags.out or Path("runs", f"{labels.name}-promote"))
    if out.resolve() in {path.resolve(), Path(pseudo or ".").resolve()}:
        raise ConfigError(f"--out must be another folder than what is merged, got {out} for both")
    tagged = TaggedByScribbles.of(dataset, labels, which=keep.tags)
    maker = ClassifierMaker(
        classifier, recipe, out, seed=flags.seed, overwrite=flags.overwrite, is_shard=flags.shard != "1/1"
    )
    if not pseudo and not classifier.classifier:
        if flags.dry_run and maker.state() != "complete":
            return _print_training(maker, tagged, as_json=flags.as_json)
        if not flags.dry_run:
            maker.fit(tagged)
    if classifier.fit_only:
        return _print_fitted(maker, as_json=flags.as_json)
    made = _pseudo_of(pseudo, labels, certainty) if pseudo else maker.job(tagged)
    job = promote_job(labels, made, keep, dataset=tagged, refine=steps, seed=flags.seed)
    options = replace(flags.run_options(), seed=flags.seed)
    if flags.dry_run:
        print_plan(dataset, job, out, options, as_json=flags.as_json)
        return EXIT_DONE
    with progress_bar("promote") as progress:
        report = run_job(dataset, job, out, options, progress=progress)
    facts = _facts(report.out, path, pseudo or maker.folder.as_posix())
    steps_after = leave_sheet(report, dataset, wanted=flags.sheet) + _next(report, facts, pseudo, dataset, job)
    print_report(report, job, as_json=flags.as_json, more=facts, steps=steps_after)
    return say_failures(report)


def _refuse_contradictions(
    pseudo: str,
    certainty: float | None,
    classifier: ClassifierFlags,
    recipe: CamRecipeFlags,
    source: SourceFlags,
) -> None:
    """Refuse flags that have no say beside others."""
    refuse_negative(limit=source.limit)
    training = {
        "--method": classifier.method,
        "--preset": classifier.preset_name if classifier.preset_name != "auto" else "",
        "--backbone-weights": classifier.backbone_weights,
        "--saliency": classifier.saliency,
        "--fit-only": classifier.fit_only,
        **{f"--{name.replace('_', '-')}": True for name in recipe.changes()},
    }
    idle = [name for name, value in training.items() if value]
    if pseudo:
        idle += [n for n, v in {"--classifier": classifier.classifier, "--cam": classifier.cam}.items() if v]
        if idle:
            raise ConfigError(
                f"{idle[0]} is about a classifier, but --pseudo names the labels", hint="give one of them"
            )
    elif certainty is not None:
        raise ConfigError("--certainty is about the labels of --pseudo, which is not given", hint="leave it out")
    if classifier.classifier and idle:
        raise ConfigError(f"{idle[0]} is about training, but --classifier is trained", hint="give one of them")
    if classifier.saliency and classifier.method != "eps":
        raise ConfigError(f"--saliency is for eps, got --method {classifier.method or 'cam'}", hint="--method eps")


def _pseudo_of(path: str, labels: "RunFolder | MaskFolder", certainty: float | None) -> "Job":
    from labelgen.promote.job import pseudo_of_labels
    from labelgen.store import open_labels

    return pseudo_of_labels(open_labels(Path(path), vocabulary=labels.vocabulary), certainty=certainty)


def _print_training(maker: ClassifierMaker, tagged: "TaggedByScribbles", *, as_json: bool) -> int:
    """What would come first, and what it would cost; the labels cannot be timed before."""
    cost, settings = maker.cost(tagged)
    plan = {
        "train": maker.folder.as_posix(),
        "method": maker.method,
        "images": len(tagged.ids),
        "tags": tagged.tags_source,
        "out": maker.out.as_posix(),
    }
    if as_json:
        print_json({**plan, "estimate": cost})
        return EXIT_DONE
    rows = [(key, value) for key, value in plan.items() if key not in ("images", "out")]
    rows += training_cost_rows(cost, settings)
    rows += [("then", f"labels into {plan['out']}; asked again when it is trained, --dry-run times them")]
    print_table(("", ""), rows, title="would do (nothing is written; times are those of this machine)", texts=(0, 1))
    return EXIT_DONE


def _print_fitted(maker: ClassifierMaker, *, as_json: bool) -> int:
    if as_json:
        print_json({"classifier": maker.folder.as_posix(), "method": maker.method})
    else:
        print(f"{maker.folder}: complete")  # noqa: T201
    return EXIT_DONE


def _facts(out: Path, scribbles: Path, pseudo: str) -> dict[str, Any]:
    """What the records say of how well scribbles and pseudo-labels go together, as means over images."""
    from labelgen.store import RunFolder

    details = [record["details"] for record in RunFolder.open(out).records().values()]
    agreed = [found["agreement"] for found in details if found["agreement"] is not None]
    return {
        "scribbles": scribbles.as_posix(),
        "pseudo": pseudo,
        "agreement": sum(agreed) / len(agreed) if agreed else None,
        "images_without_scribble": sum(found["tags"] is None for found in details),
        "scribble_coverage": sum(found["scribble_coverage"] for found in details) / max(len(details), 1),
        "removed_pixels": sum(sum(found.get("removed_pixels", {}).values()) for found in details),
    }


def _next(report: Any, facts: dict[str, Any], pseudo: str, dataset: Any, job: "Job") -> list[tuple[str, str]]:
    """Rows of the report: how well both go together, and what to type next."""
    scribbles = facts["scribbles"]
    shown = "-" if facts["agreement"] is None else f"{100 * facts['agreement']:.1f} % of the scribbled pixels"
    rows = [("pseudo-labels agree on", shown)]
    if facts["scribble_coverage"] > DENSE:
        share = f"{100 * facts['scribble_coverage']:.0f} % of the pixels"
        rows.append(("warning", f"{scribbles} labels {share}: it hides the pseudo-labels; is it a run of scribbles?"))
    if not report.complete:
        return rows
    runs = [data_path(path) for path in (Path(scribbles), *([Path(pseudo)] if pseudo else []), report.out)]
    both = f"segprobe fit {runs[-1]} --layer scribble --term pseudo --term distance-entropy"
    if not can_be_scored(dataset, job.vocabulary):
        return [*rows, ("next", both)]
    return [*rows, ("next", f"labelgen quality {' '.join(runs)}"), ("train on both", both)]
