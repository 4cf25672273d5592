"""Turn every row of `METHODS` into a command: `labelgen scribble [DATA] --shrink 0.5 --out RUN`."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from cyclopts import Parameter

from labelgen.commands.amounts import cost_rows
from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    CommonFlags,
    DataFlags,
    open_dataset_from,
    print_json,
    progress_bar,
    say,
    say_error,
)
from labelgen.commands.next_step import next_steps
from labelgen.commands.sheet import leave_sheet
from labelgen.data.dataset import Dataset
from labelgen.errors import ConfigError, VocabularyError
from labelgen.estimate import estimate_run
from labelgen.methods.method import Method
from labelgen.run import Job, RunOptions, RunReport, method_job, plan_job, run_job
from labelgen.vocab import Vocabulary, load_vocabulary, vocabulary_names

__all__ = ["Afterwards", "label_data", "method_command", "print_plan", "print_report", "refuse_unused", "say_failures"]

DATA_HELP = (
    "Data set: demo, demo:N for N scenes, a folder of known layout or of pictures, or KIND:PATH (voc, folder, coco, "
    "ade20k, cityscapes, camvid, images)."
)


NAMED_CLASSES = 5  # in the report of a run


@runtime_checkable
class Afterwards(Protocol):
    """Flags of one method about what to do when the run is complete; a dataclass of keyword-only fields."""

    def check(self) -> None:
        """Refuse contradictions before anything is labelled."""
        ...

    def look(self, dataset: Dataset, out: Path) -> dict[str, Any]:
        """Do it; the facts found, as JSON values."""
        ...

    def show(self, facts: dict[str, Any]) -> None:
        """Print the facts for people."""
        ...


def method_command(name: str, method: Method, *, afterwards: type[Afterwards] | None = None) -> Callable[..., int]:
    """The command of one method: its flags are the fields of its config, its help is the docstring of its config."""

    def command(
        data: str = "demo",
        /,
        *,
        flags: CommonFlags | None = None,
        then: Afterwards | None = None,
        **settings: Any,
    ) -> int:
        then = then or (afterwards() if afterwards else None)
        return label_data(name, method.config(**settings), data, flags or CommonFlags(), then=then)

    hints = typing.get_type_hints(method.config, include_extras=True)
    parameters = [
        inspect.Parameter(
            "data",
            inspect.Parameter.POSITIONAL_ONLY,
            default="demo",
            annotation=Annotated[str, Parameter(help=DATA_HELP)],
        ),
        *(_flag(field, hints[field.name]) for field in dataclasses.fields(method.config)),
        inspect.Parameter(
            "flags",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[CommonFlags | None, Parameter(name="*", group="Common flags")],
        ),
    ]
    if afterwards:
        hint = Annotated[afterwards | None, Parameter(name="*", group="When the run is complete")]
        then = inspect.Parameter("then", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        parameters.insert(-1, then)
    command.__name__ = command.__qualname__ = name.replace("-", "_")
    command.__doc__ = method.config.__doc__
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    return command


def _flag(field: dataclasses.Field, hint: Any) -> inspect.Parameter:
    """The flag of one setting; a sentence in `Annotated[type, "sentence"]` is its help."""
    if typing.get_origin(hint) is Annotated:
        sentences = [extra for extra in hint.__metadata__ if isinstance(extra, str)]
        others = [extra for extra in hint.__metadata__ if not isinstance(extra, str)]
        texts = [Parameter(help=sentences[0])] if sentences else []
        hint = Annotated[(hint.__origin__, *texts, *others)] if texts or others else hint.__origin__
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        raise TypeError(f"every setting of a method needs a default, {field.name} has none")
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def label_data(name: str, config: Any, data: str, flags: CommonFlags, *, then: Afterwards | None = None) -> int:
    """Label a data set with one method, print what came out, and return the exit code."""
    if then:
        then.check()
    from labelgen.methods import METHODS

    method, options = METHODS[name], flags.run_options()
    refuse_unused(name, method, config, flags)
    dataset, vocabulary = open_for(method, config, data, flags)
    job = method_job(name, config, vocabulary, dataset=dataset, refine=flags.refine, seed=options.seed)
    out = Path(flags.out or f"runs/{method.folder(config) or name}")
    if flags.dry_run:
        print_plan(dataset, job, out, options, as_json=flags.as_json)
        return EXIT_DONE
    with progress_bar(name) as progress:
        report = run_job(dataset, job, out, options, progress=progress)
    pictures = leave_sheet(report, dataset, wanted=flags.sheet)
    facts = then.look(dataset, report.out) if then and report.complete else {}
    steps = []
    if report.complete and not flags.as_json:
        steps = next_steps(dataset, job.vocabulary, report.out, name=name, method=method, config=config, flags=flags)
    print_report(report, job, as_json=flags.as_json, more=facts, steps=[*pictures, *steps])
    if then and facts and not flags.as_json:
        then.show(facts)
    return say_failures(report)


def refuse_unused(name: str, method: Method, config: Any, flags: DataFlags) -> None:
    """Refuse flags about the data that have no say beside the settings of the method."""
    if flags.vocab and getattr(config, "classes", ""):
        raise ConfigError(
            f"--vocab and --classes both say what the classes are, got {flags.vocab!r} and {config.classes!r}",
            hint="leave one of them out",
        )
    if flags.tags and "tags" not in method.supervision(config):
        gate = "--gate tags restricts the classes of an image to its tags; else " if hasattr(config, "gate") else ""
        raise ConfigError(
            f"{name} with these settings looks at no image-level tags, got --tags {flags.tags}",
            hint=f"{gate}leave --tags out",
        )


def open_for(method: Method, config: Any, data: str, flags: DataFlags) -> tuple[Dataset, Vocabulary]:
    """Open the data, and the vocabulary of the labels, which is that of the data for all but the methods with words.

    A method that names classes by words and sees no truth can label any data in any vocabulary, so `--vocab` then says
    what to look for and not what the files hold; the data keep their own classes, where they have any.
    """
    free = method.vocabulary_for is not None and not method.supervision(config) & {"truth", "tags"}
    if not free:
        dataset = open_dataset_from(flags, data)
        return dataset, dataset.vocabulary
    wanted = label_vocabulary(method, config, flags.vocab)
    try:
        dataset = open_dataset_from(replace(flags, vocab=""), data)
    except VocabularyError:
        if wanted is None:
            raise
        named = flags.vocab or f"classes:{getattr(config, 'classes', '')}"
        return open_dataset_from(replace(flags, vocab=named), data), wanted
    named = flags.vocab or (wanted.name if wanted else "")  # a preset brings its words with it
    if named in vocabulary_names() and wanted and set(wanted.classes) <= set(dataset.vocabulary.classes):
        # a variant, such as voc20 or voc-ovss, reads the same files
        dataset = open_dataset_from(replace(flags, vocab=named), data)
    return dataset, wanted or dataset.vocabulary


def label_vocabulary(method: Method, config: Any, name: str) -> Vocabulary | None:
    """What is to be looked for, when the command line says it; None leaves it to the data."""
    nothing = Vocabulary("nothing", ("nothing",))
    given = load_vocabulary(name) if name else nothing
    wanted = method.label_vocabulary(config, given)
    return None if wanted is nothing else wanted


def say_failures(report: RunReport) -> int:
    """Say on stderr how many images failed, if any, and why the first did; the exit code of the command."""
    first = report.first_failure
    if first is None:
        return EXIT_DONE
    total = report.done + report.skipped + report.failed
    say_error(
        f"{report.failed} of {total} images could not be labelled, the first {first['id']}: {first['error']}",
        first["hint"] or "mend the data and run the same command again; it tries them anew",
    )
    return EXIT_SOME_FAILED


def print_plan(dataset: Dataset, job: Job, out: Path, options: RunOptions, *, as_json: bool) -> None:
    """Print what a run would do and cost; a few images are labelled and thrown away to find out."""
    todo, total = plan_job(dataset, job, out, options)
    cost = estimate_run(dataset, job, todo, options)
    plan = {
        "method": job.method,
        "supervision": sorted(job.supervision),
        "config": dict(job.config),
        "data": dataset.spec.to_json(),
        "vocabulary": job.vocabulary.name,
        "classes": job.vocabulary.num_classes,
        "images": total,
        "to_label": len(todo),
        "out": str(out),
    }
    if as_json:
        print_json({**plan, "estimate": cost.to_json()})
        return
    shown = plan | {"data": f"{dataset.spec.kind}:{dataset.spec.root} {dataset.spec.split}".strip()}
    rows = [(key.replace("_", " "), _one_line(value)) for key, value in shown.items()]
    rows += cost_rows(cost)
    rows += [("first", f"{i} -> {(out / 'labels' / i).as_posix()}.png") for i in todo[:3]]
    _print_pairs(rows, title="would do (nothing is written)")


def print_report(
    report: RunReport, job: Job, *, as_json: bool, more: dict[str, Any], steps: list[tuple[str, str]]
) -> None:
    """Print what came out of a run.

    Parameters
    ----------
    more
        Further facts for the JSON document.
    steps
        Rows about what to type next.
    """
    counts, vocabulary = report.counts, job.vocabulary
    if as_json:
        keys = ("done", "skipped", "failed", "complete", "coverage")
        facts = {"out": str(report.out), "method": job.method, "supervision": sorted(job.supervision)}
        print_json(facts | {key: getattr(report, key) for key in keys} | {"counts": dict(counts)} | more)
        return
    if report.complete and not report.done and not report.failed:
        title = f"{report.out} is complete: nothing to do"
    else:
        title = f"{job.method}: {report.out}" + ("" if report.complete else " (not complete: other shards are missing)")
    before = f" ({report.skipped} of them before)" if report.skipped and report.done else ""
    rows = [
        ("images labelled", f"{counts['labelled']}{before}"),
        ("without any label", counts["empty"]),
        ("failed", f"{report.failed}" + (f" (see {report.out / 'failures.jsonl'})" if report.failed else "")),
        ("coverage", f"{100 * report.coverage:.3g} % of all pixels, void included"),
        (
            "classes",
            f"{len(counts['classes'])} of {vocabulary.num_classes} ({_largest(counts['classes'], vocabulary)})",
        ),
        ("strokes", counts["strokes"]),
        ("warnings", f"{counts['warnings']} (all in manifest.jsonl), the first of {report.first_warning}"),
        ("supervision", ", ".join(sorted(job.supervision)) or "none"),
    ]
    rows += steps
    always = {"images labelled", "failed", "coverage", "classes", "supervision", *(word for word, _ in steps)}
    if report.complete and "truth" in job.needs and set(counts["classes"]) == {str(vocabulary.background)}:
        say(
            "warning: nothing but background is labelled. Are objects 255 in the masks? Ids are 0, 1, 2, ... in the "
            "order of the classes, and 255 is void: such masks must be converted first"
        )
    _print_pairs([row for row in rows if row[0] in always or not str(row[1]).startswith("0")], title=title)


def _largest(classes: dict[str, int], vocabulary: Vocabulary) -> str:
    """Names of the classes that cover most pixels, with their share of the labelled pixels."""
    total = sum(classes.values())
    ranked = sorted(classes.items(), key=lambda item: (-item[1], int(item[0])))
    names = [f"{vocabulary.classes[int(i)]} {100 * pixels / total:.0f} %" for i, pixels in ranked[:NAMED_CLASSES]]
    return ", ".join(names) + (", ..." if len(ranked) > NAMED_CLASSES else "")


def _one_line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={entry}" for key, entry in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _print_pairs(rows: list[tuple[str, Any]], *, title: str) -> None:
    print(title)  # noqa: T201
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        print(f"  {key:<{width}}  {value}")  # noqa: T201
