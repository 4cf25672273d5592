"""`labelgen preview IMAGE`: what a method makes of one picture, to be looked at."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import print_json, print_table
from labelgen.errors import ConfigError

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.methods.method import Method

__all__ = ["preview"]

DEMO = "demo"
VOCABULARY = "voc"  # of pictures for which nobody names one


def preview(
    *images: str,
    method: str = "clip",
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    classes: str = "",
    vocab: str = "",
    refine: tuple[str, ...] = (),
    out: str = "",
    seed: int = 0,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Label one picture, or a few, and draw what came out: overlay, heat maps, contact sheet.

    Parameters
    ----------
    images
        Image files; demo or demo:val_0003 for a demo scene. Default: demo.
    method
        A method that needs no supervision: clip, zeroseg.
    set_
        A setting of the method as NAME=VALUE, such as method=gem; may be repeated. labelgen METHOD --help lists them.
    classes
        What to look for: "cat, dog, grass", with other words for a class as in "peeling paint=flaking paint".
    vocab
        The same by the name of a vocabulary, or a .toml file. Default: voc.
    refine
        Repair the scores: affinity:BACKBONE, regions:slic, regions:felzenszwalb or regions:DIR, with options as
        NAME:ARGUMENT,key=value; several are applied in their order.
    out
        Folder to write; with several pictures each gets its own below it. Default: runs/preview/NAME.
    seed
        Of methods that draw lots.
    as_json
        Print one JSON document on stdout, nothing else.
    """
    from labelgen.methods import METHODS
    from labelgen.settings import settings_from_text, split_setting

    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}", hint=f"methods: {', '.join(METHODS)}")
    row = METHODS[method]
    values = dict(split_setting(text) for text in set_)
    values |= {"classes": classes} if classes else {}
    config = settings_from_text(row.config, values, of=f"method {method}")
    _refuse_supervised(method, row, config)
    names = images or (DEMO,)
    folders = _folders(names, out)
    documents = [
        _preview_one(name, folder, method=method, config=config, vocab=vocab, refine=refine, seed=seed)
        for name, folder in zip(names, folders, strict=True)
    ]
    if as_json:
        print_json(documents[0] if len(documents) == 1 else documents)
        return
    for folder, document in zip(folders, documents, strict=True):
        _print_classes(folder, document)


def _refuse_supervised(name: str, method: "Method", config: Any) -> None:
    needs = method.supervision(config)
    if not needs:
        return
    from labelgen.methods import METHODS

    able = [other for other, row in METHODS.items() if not row.supervision(row.config())]
    raise ConfigError(
        f"{name} with these settings needs {' and '.join(sorted(needs))}, which a picture alone does not have",
        hint=f"methods for pictures: {', '.join(able)}; for the others: labelgen {name} DATA --limit 1",
    )


def _folders(names: tuple[str, ...], out: str) -> list[Path]:
    """One folder a picture; pictures of the same name in different folders get numbers."""
    stems: list[str] = []
    for name in names:
        stem = name.replace(":", "_") if _is_demo(name) else Path(name).stem
        count = sum(other == stem or other.startswith(f"{stem}-") for other in stems)
        stems.append(f"{stem}-{count + 1}" if stem in stems else stem)
    if out and len(names) == 1:
        return [Path(out)]
    return [Path(out or "runs/preview") / stem for stem in stems]


def _is_demo(name: str) -> bool:
    return (name == DEMO or name.startswith(f"{DEMO}:")) and not Path(name).exists()


def _open_picture(name: str, vocab: str) -> "Dataset":
    """A data set of one picture, so that methods settle on it as they do on many."""
    from labelgen.data.dataset import DataSpec
    from labelgen.data.disk import DiskDataset
    from labelgen.data.files import FileTable
    from labelgen.data.open import open_data
    from labelgen.errors import DataError
    from labelgen.vocab import load_vocabulary

    if _is_demo(name):
        wanted = name.partition(":")[2] or "val_0000"
        scenes = open_data(DEMO, split=wanted.rpartition("_")[0])
        if wanted not in scenes.ids:
            raise DataError(f"no demo scene {wanted!r}", hint=f"from demo:{scenes.ids[0]} to demo:{scenes.ids[-1]}")
        return replace(scenes, ids=(wanted,))  # type: ignore[type-var]
    path = Path(name).expanduser().resolve()
    if path.is_dir():
        raise DataError(f"{name} is a folder, not a picture", hint=f"labelgen clip {name} labels all pictures in it")
    if not path.is_file():
        raise DataError(f"picture not found: {path}", hint="give an image file, or demo for a demo scene")
    files = FileTable(path.parent, {path.stem: path.name}, "image", path.name)
    spec = DataSpec("images", str(path.parent), limit=1)
    return DiskDataset(spec, load_vocabulary(vocab or VOCABULARY), (path.stem,), files, None)


def _preview_one(
    name: str, folder: Path, *, method: str, config: Any, vocab: str, refine: tuple[str, ...], seed: int
) -> dict[str, Any]:
    from labelgen.job import method_job, rng_for
    from labelgen.report.preview import Preview, write_preview
    from labelgen.vocab import load_vocabulary

    dataset = _open_picture(name, vocab)
    (sample_id,) = dataset.ids
    sample = dataset.load(sample_id, {"image"})  # before any model, so that a wrong path is found at once
    base = load_vocabulary(vocab) if vocab else dataset.vocabulary
    job = method_job(method, config, base, dataset=dataset, refine=refine)
    mask = job.make()(sample, rng_for(seed, sample_id))
    title = f"{sample_id if _is_demo(name) else Path(name).name}   {method}"
    facts = {
        "image": name,
        "size": list(sample.size),
        "method": method,
        "config": dict(job.config),
        "supervision": [],
        "vocabulary": {**job.vocabulary.to_json(), "digest": job.vocabulary.digest()},
        "models": dict(job.models),
        "facts": dict(job.facts),
        "seed": seed,
    }
    return write_preview(Preview(title, sample.need_image(), mask, job.vocabulary), folder, facts=facts)


def _print_classes(folder: Path, document: dict[str, Any]) -> None:
    rows = [
        (facts["name"], f"{100 * facts['share']:.1f} %", f"{facts['mean_score']:.3f}", f"{facts['best_score']:.3f}")
        for facts in document["classes"]
    ]
    if document["coverage"] < 1:
        rows.append(("(unlabelled)", f"{100 * (1 - document['coverage']):.1f} %", "", ""))
    height, width = document["size"]
    title = f"{document['image']}: {width} x {height} pixels, {document['method']}"
    print_table(("class", "share", "mean score", "best score"), rows, title=title)
    print(f"pictures: {folder}/sheet.png and {len(document['files']) - 1} more")  # noqa: T201
