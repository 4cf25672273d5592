"""`labelgen preview IMAGE`: what a method makes of one picture, to be looked at."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

from cyclopts import Parameter

from labelgen.commands.common import JsonFlag, print_json, print_table
from labelgen.errors import ConfigError, DataError, RunFolderError
from labelgen.job import Job, rng_for
from labelgen.job_builders import method_job
from labelgen.vocab import load_vocabulary

if TYPE_CHECKING:
    from labelgen.data.dataset import Dataset
    from labelgen.data.sample import Sample
    from labelgen.methods.method import Method

__all__ = ["preview"]

DEMO = "demo"
FIRST_SCENE = "val_0000"
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
    as_json: JsonFlag = False,
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

    Examples
    --------
    labelgen preview
    labelgen preview dog.jpg --classes "dog, grass, sky"
    labelgen preview demo:val_0003 --set method=gem --refine pamr
    """
    from labelgen.methods import METHODS
    from labelgen.settings import settings_from_text, split_setting

    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}", hint=f"methods: {', '.join(METHODS)}")
    row = METHODS[method]
    values = dict(split_setting(text) for text in set_)
    values |= {"classes": classes} if classes else {}
    config = settings_from_text(row.config, values, of=f"method {method}")
    if vocab and getattr(config, "classes", ""):
        raise ConfigError(
            f"--vocab and --classes both say what to look for, got {vocab!r} and {getattr(config, 'classes', '')!r}",
            hint="leave one of them out",
        )
    _refuse_supervised(method, row, config)
    pictures = _pictures(images or (DEMO,), out)
    for picture in pictures:
        _refuse_folder(picture.folder)
    documents: dict[Path, dict[str, Any]] = {}
    for dataset, some in _opened(pictures, vocab):
        base = load_vocabulary(vocab) if vocab else dataset.vocabulary
        job = method_job(method, config, base, dataset=dataset, refine=refine, seed=seed)
        documents |= _previews(dataset, job, some, seed)
    found = [documents[picture.folder] for picture in pictures]
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
        return
    for picture in pictures:
        _print_classes(picture.folder, documents[picture.folder])


def _refuse_supervised(name: str, method: "Method", config: Any) -> None:
    needs = method.supervision(config)
    if not needs:
        return
    if needs == {"tags"} and "predicted" in get_args(get_type_hints(type(config)).get("gate")):
        raise ConfigError(
            f"{name} with these settings needs tags, which a picture alone does not have",
            hint="--set gate=predicted looks for the classes that the classifier itself predicts",
        )
    from labelgen.methods import METHODS

    able = [other for other, row in METHODS.items() if not row.supervision(row.config())]
    raise ConfigError(
        f"{name} with these settings needs {' and '.join(sorted(needs))}, which a picture alone does not have",
        hint=f"methods for pictures: {', '.join(able)}; for the others: labelgen {name} DATA --limit 1",
    )


@dataclass(frozen=True)
class _Picture:
    """A picture as typed, its id in its data set, and the folder to write."""

    name: str
    id: str
    folder: Path

    @property
    def split(self) -> str:
        """Of a demo scene; empty for a file."""
        return self.id.rpartition("_")[0] if _is_demo(self.name) else ""


def _is_demo(name: str) -> bool:
    return (name == DEMO or name.startswith(f"{DEMO}:")) and not Path(name).exists()


def _pictures(names: tuple[str, ...], out: str) -> list[_Picture]:
    """Ids and folders follow file names; pictures of the same name in different folders get numbers."""
    stems: list[str] = []
    for name in names:
        stem = (name.partition(":")[2] or FIRST_SCENE) if _is_demo(name) else Path(name).stem
        count = sum(re.fullmatch(rf"{re.escape(stem)}(-\d+)?", other) is not None for other in stems)
        stems.append(f"{stem}-{count + 1}" if stem in stems else stem)
    if out and len(names) == 1:
        return [_Picture(names[0], stems[0], Path(out))]
    return [_Picture(name, stem, Path(out or "runs/preview") / stem) for name, stem in zip(names, stems, strict=True)]


def _opened(pictures: list[_Picture], vocab: str) -> "list[tuple[Dataset, list[_Picture]]]":
    """Data sets of the pictures, so that a method settles on them as it does on any: the files, and the demo scenes."""
    groups: dict[str, list[_Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.split, []).append(picture)
    return [(_demo_scenes(s, some) if s else _files(some, vocab), some) for s, some in groups.items()]


def _demo_scenes(split: str, pictures: list[_Picture]) -> "Dataset":
    from labelgen.data.open import open_data

    scenes: Any = open_data(DEMO, split=split)
    for picture in pictures:
        if picture.id not in scenes.ids:
            hint = f"from demo:{scenes.ids[0]} to demo:{scenes.ids[-1]}"
            raise DataError(f"no demo scene {picture.id!r}, or it is named twice", hint=hint)
    return replace(scenes, ids=tuple(sorted(picture.id for picture in pictures)))


def _files(pictures: list[_Picture], vocab: str) -> "Dataset":
    from labelgen.data.dataset import DataSpec
    from labelgen.data.disk import DiskDataset
    from labelgen.data.files import FileTable

    paths = {picture.id: Path(picture.name).expanduser().resolve() for picture in pictures}
    for path in paths.values():
        if path.is_dir():
            raise DataError(
                f"{path} is a folder, not a picture", hint=f"labelgen clip {path} labels all pictures in it"
            )
        if not path.is_file():
            raise DataError(f"picture not found: {path}", hint="give an image file, or demo for a demo scene")
    root = next(iter(paths.values())).parent
    files = FileTable(root, {i: path.as_posix() for i, path in paths.items()}, "image", "{id}")
    vocabulary = load_vocabulary(vocab or VOCABULARY)
    return DiskDataset(DataSpec("images", str(root)), vocabulary, tuple(sorted(paths)), files, None)


def _previews(dataset: "Dataset", job: Job, pictures: list[_Picture], seed: int) -> dict[Path, dict[str, Any]]:
    """Label the pictures of one data set and write their previews."""
    from labelgen.report.labelled import FEWEST_HEAT_MAPS, Preview
    from labelgen.report.preview import write_preview

    generate, documents = job.make(), {}
    likely = job.likely() if job.likely else None
    for picture in pictures:
        sample = dataset.load(picture.id, {"image"})
        mask = generate(sample, rng_for(seed, picture.id))
        title = f"{picture.id if picture.split else Path(picture.name).name}   {job.method}"
        facts = {
            "image": picture.name,
            "size": list(sample.size),
            "method": job.method,
            "config": dict(job.config),
            "supervision": sorted(job.needs),
            "vocabulary": {**job.vocabulary.to_json(), "digest": job.vocabulary.digest()},
            "models": dict(job.models),
            "facts": dict(job.facts),
            "seed": seed,
        }
        others = None
        if likely and len(mask.class_ids) < FEWEST_HEAT_MAPS:
            others = likely(_shown(sample), rng_for(seed, picture.id), FEWEST_HEAT_MAPS)
        preview = Preview(title, sample.need_image(), mask, job.vocabulary, others)
        documents[picture.folder] = write_preview(preview, picture.folder, facts=facts)
    return documents


def _shown(sample: "Sample") -> "Sample":
    """The image at the size of the pages, if that is smaller: maps to be looked at need no more."""
    from labelgen.report.pictures import picture_at, shown_size

    size = shown_size(sample.size)
    if max(size) >= max(sample.size):
        return sample
    return replace(sample, size=size, image=picture_at(sample.need_image(), size))


def _refuse_folder(folder: Path) -> None:
    """Refuse what cannot be written before anything is loaded."""
    there = next((p for p in (folder, *folder.parents) if p.exists()), Path())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "is no folder" if not there.is_dir() else "may not be written to"
        raise RunFolderError(f"the preview cannot be written to {folder}: {there} {why}", hint="give another --out")


def _print_classes(folder: Path, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{facts['name']} (wins nowhere)" if facts["runner_up"] else facts["name"],
            f"{100 * facts['share']:.1f} %",
            f"{facts['mean_score']:.3f}",
            f"{facts['best_score']:.3f}",
        )
        for facts in document["classes"]
    ]
    if document["coverage"] < 1:
        rows.append(("(unlabelled)", f"{100 * (1 - document['coverage']):.1f} %", "", ""))
    height, width = document["size"]
    print(f"{document['image']}: {width} x {height} pixels, {document['method']}")  # noqa: T201
    print_table(("class", "share", "mean score", "best score"), rows)
    print(f"pictures: {folder.as_posix()}/sheet.png and {len(document['files']) - 1} more files")  # noqa: T201
