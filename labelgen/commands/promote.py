"""`labelgen promote [RUN]`: scribbles and the pseudo-labels that their classes give, merged into a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    RunFlags,
    Switch,
    data_path,
    print_json,
    progress_bar,
)
from labelgen.commands.fit_cam import CamRecipeFlags
from labelgen.commands.generate import print_plan, print_report, say_failures
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.promote_classifier import ClassifierFlags, ClassifierMaker
from labelgen.commands.refine import SourceFlags, open_source
from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.job import Job
    from labelgen.promote.tags import TaggedByScribbles
    from labelgen.store import MaskFolder, RunFolder

__all__ = ["PromoteFlags", "PromoteRunFlags", "promote"]

SPARSE_METHODS = ("scribble", "point")


@dataclass(frozen=True, kw_only=True)
class PromoteFlags:
    """What is kept of pseudo-labels, and where tags come from.

    Parameters
    ----------
    tags
        visible: the classes that were drawn, which is what an annotator would have given. all: those of strokes that
        --drop left out too, for curves that ask what fewer strokes cost while the classes stay known.
    min_score
        A pseudo-label is kept where its score exceeds it. Default: that of the pseudo run, else 0.
    pseudo_background
        Keep pseudo-labels of the background.
    contradicted
        What to make of a region of pseudo-labels in which most scribbled pixels are of other classes: keep it, as the
        paper does, or unlabel it.
    unscribbled
        What to make of an image without any scribble, of which no tag is known: nothing (skip), or all background.
    save_distances
        Keep two weights a pixel, for other programs: 1 on foreground scribbles and falling to 0 at --scribble-radius; 0
        on contours of the pseudo-labels and rising to 1 at --contour-radius. segprobe does not read them: its term
        distance-entropy computes its own, by the radii that are typed there.
    scribble_radius
        Pixels from a scribble at which its weight is 0. Default: 154.7.
    contour_radius
        Pixels from a contour at which the weight of a pseudo-label is 1. Default: 12.7.
    """

    tags: Literal["visible", "all"] = "visible"
    min_score: float | None = None
    pseudo_background: bool = True
    contradicted: Literal["keep", "unlabel"] = "keep"
    unscribbled: Literal["skip", "background"] = "skip"
    save_distances: Switch = False
    scribble_radius: float | None = None
    contour_radius: float | None = None


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
    keep: Annotated[PromoteFlags | None, Parameter(name="*", group="Promotion")] = None,
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
    """
    source, flags, keep = source or SourceFlags(), flags or PromoteRunFlags(), keep or PromoteFlags()
    classifier, recipe = classifier or ClassifierFlags(), recipe or CamRecipeFlags()
    _refuse_contradictions(pseudo, certainty, classifier, recipe, flags, source)

    from labelgen.promote.job import PromoteConfig, promote_job, refuse_unfinished
    from labelgen.promote.tags import TaggedByScribbles
    from labelgen.refine import parse_refiners
    from labelgen.run import RunOptions, run_job
    from labelgen.store import newest_run

    config = PromoteConfig(**{key: value for key, value in vars(keep).items() if value is not None})
    steps = parse_refiners(*refine)
    path = Path(run) if run else newest_run(among=SPARSE_METHODS)
    labels, dataset = open_source(path, source)
    refuse_unfinished(labels)
    out = Path(flags.out or Path("runs", f"{labels.name}-promote"))
    if out.resolve() in {path.resolve(), Path(pseudo or ".").resolve()}:
        raise ConfigError(f"--out must be another folder than what is merged, got {out} for both")
    tagged = TaggedByScribbles.of(dataset, labels, which=config.tags)
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
    job = promote_job(labels, made, config, dataset=tagged, refine=steps, seed=flags.seed)
    shared = flags.run_options()
    options = RunOptions(**{**vars(shared), "seed": flags.seed})
    if flags.dry_run:
        print_plan(dataset, job, out, options, as_json=flags.as_json)
        return EXIT_DONE
    with progress_bar("promote") as progress:
        report = run_job(dataset, job, out, options, progress=progress)
    print_report(
        report,
        job,
        as_json=flags.as_json,
        more=_facts(report.out, path, pseudo or maker.folder.as_posix()),
        steps=_next(report, path, pseudo, dataset, job),
    )
    if report.first_failure is not None:
        say_failures(report, report.first_failure)
    return EXIT_SOME_FAILED if report.failed else EXIT_DONE


def _refuse_contradictions(
    pseudo: str,
    certainty: float | None,
    classifier: ClassifierFlags,
    recipe: CamRecipeFlags,
    flags: PromoteRunFlags,
    source: SourceFlags,
) -> None:
    """Refuse flags that have no say beside others."""
    if source.limit < 0:
        raise ConfigError(f"--limit must be >= 0, got {source.limit}")
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
    """What would come first."""
    plan = {
        "train": maker.folder.as_posix(),
        "method": maker.method,
        "images": len(tagged.ids),
        "tags": tagged.tags_source,
        "out": maker.out.as_posix(),
    }
    if as_json:
        print_json(plan)
    else:
        print("would do (nothing is written)")  # noqa: T201
        for key, value in plan.items():
            print(f"  {key:<7} {value}")  # noqa: T201
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
        "removed_pixels": sum(sum(found.get("removed_pixels", {}).values()) for found in details),
    }


def _next(report: Any, scribbles: Path, pseudo: str, dataset: Any, job: "Job") -> list[tuple[str, str]]:
    facts = _facts(report.out, scribbles, pseudo)
    shown = "-" if facts["agreement"] is None else f"{100 * facts['agreement']:.1f} % of the scribbled pixels"
    rows = [("pseudo-labels agree on", shown)]
    if not report.complete:
        return rows
    runs = [data_path(path) for path in (scribbles, *([Path(pseudo)] if pseudo else []), report.out)]
    both = f"segprobe fit {runs[-1]} --layer scribble --term pseudo --term distance-entropy"
    if not can_be_scored(dataset, job.vocabulary):
        return [*rows, ("next", both)]
    return [*rows, ("next", f"labelgen quality {' '.join(runs)}"), ("train on both", both)]
