"""Completion by Tab: candidates for the values of flags, and the script that a shell loads."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

__all__ = ["COMPLETERS", "backbones", "candidates", "data_sets", "files", "folders", "install_completion", "runs"]

KINDS = ("voc", "folder", "coco", "ade20k", "cityscapes", "camvid", "images")
MOST = 200  # entries of a folder that are offered


def candidates(context: "CompletionContext", own: Mapping[str, Callable[[str], Iterable[str]]]) -> list[str]:
    """What could stand where the cursor is.

    Parameters
    ----------
    context
        What cyclopts knows of the command line so far.
    own
        Completers of a program that come before those here.
    """
    choices = context.argument.get_choices(force=True)
    if choices:
        return list(choices)
    name = context.argument.field_info.name
    complete = own.get(name) or COMPLETERS.get(name)
    return list(complete(context.incomplete)) if complete else []


def install_completion(app: App, *, shell: str | None, output: str) -> None:
    """Write the completion script of a program, and have the shell load it when it starts.

    Raises
    ------
    ConfigError
        When the shell is not named and cannot be found out, or a file cannot be written.
    """
    from cyclopts.completion import ShellDetectionError, detect_shell

    try:
        chosen = shell or detect_shell()
    except ShellDetectionError as error:
        raise ConfigError(
            "cannot find out which shell this is", hint="--shell bash, zsh, fish or powershell"
        ) from error
    try:
        path = app.install_completion(
            shell=chosen,  # type: ignore[arg-type]
            output=Path(output).expanduser() if output else None,
            add_to_startup=not output,
        )
    except OSError as error:
        raise ConfigError(f"the completion script cannot be written ({error})", hint="give --output FILE") from error
    print(path)  # noqa: T201
    advice = "it is read by the shells that start from now on" if not output else "have your shell read this file"
    print(f"completion for {chosen}: {advice}", file=sys.stderr)  # noqa: T201


def files(typed: str) -> list[str]:
    """Files and folders that begin as typed; folders end in a slash."""
    head, slash, start = typed.rpartition("/")
    root = Path(head + slash).expanduser() if slash else Path()
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return []
    shown = [e for e in entries if e.name.startswith(start) and (start.startswith(".") or not e.name.startswith("."))]
    return [f"{head}{slash}{e.name}{'/' if e.is_dir() else ''}" for e in shown[:MOST]]


def folders(typed: str) -> list[str]:
    """Folders that begin as typed."""
    return [path for path in files(typed) if path.endswith("/")]


def runs(typed: str) -> list[str]:
    """Runs below runs/, then folders."""
    return [path.parent.as_posix() for path in sorted(Path("runs").glob("*/run.json"))] + folders(typed)


def probes(typed: str) -> list[str]:
    """Probes below probes/, then folders."""
    return [path.parent.as_posix() for path in sorted(Path("probes").glob("*/probe.json"))] + folders(typed)


def data_sets(typed: str) -> list[str]:
    """Kinds of data sets, the demo, and folders."""
    kind, colon, path = typed.partition(":")
    if colon and kind in KINDS:
        return [f"{kind}:{folder}" for folder in folders(path)]
    return ["demo", *(f"{name}:" for name in KINDS), *folders(typed)]


def vocabularies(typed: str) -> list[str]:
    """Built-in vocabularies, and files of one's own."""
    from labelgen.vocab import vocabulary_names

    own = [path for path in files(typed) if path.endswith((".toml", ".txt", "/"))]
    return [*vocabulary_names(), *own]


def methods(_: str) -> list[str]:
    """Labelling methods."""
    from labelgen.methods import METHODS

    return sorted(METHODS)


def refiners(typed: str) -> list[str]:
    """Refiners; behind a comma, settings of the one that is typed."""
    import dataclasses

    from labelgen.refine import REFINERS

    name = typed.partition(":")[0].partition(",")[0]
    if "," in typed and name in REFINERS:
        head = typed.rpartition(",")[0]
        return [f"{head},{setting.name}=" for setting in dataclasses.fields(REFINERS[name].config)]
    return sorted(REFINERS)


def backbones(_: str) -> list[str]:
    """Backbones of the catalogue."""
    from labelgen.nets.catalogue import CATALOGUE

    return [known.name for known in CATALOGUE]


def clip_models(_: str) -> list[str]:
    """Image-text models of the catalogue."""
    from labelgen.nets.clip.catalogue import CLIP_CATALOGUE

    return list(dict.fromkeys(known.name for known in CLIP_CATALOGUE))


def devices(_: str) -> list[str]:
    """Devices of torch by name; which ones there are is not looked up, as that would load torch."""
    return ["auto", "cpu", "cuda", "mps"]


COMPLETERS: Mapping[str, Callable[[str], Iterable[str]]] = {
    "backbone": backbones,
    "cache": folders,
    "data": data_sets,
    "device": devices,
    "from_json": files,
    "ids": files,
    "images": files,
    "method": methods,
    "model": clip_models,
    "out": files,
    "path": folders,
    "per_image": files,
    "plot": files,
    "probe": probes,
    "pseudo": runs,
    "real": folders,
    "reference": probes,
    "refine": refiners,
    "run": runs,
    "runs": runs,
    "saliency": folders,
    "tags": files,
    "teacher": clip_models,
    "truth": data_sets,
    "vocab": vocabularies,
    "weights": files,
    "with_": refiners,
    "xml": folders,
}
"""Name of a parameter to candidates for what is typed of its value."""
