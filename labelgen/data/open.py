"""Open data by what is typed: `demo`, `demo:N` for N scenes, a path whose layout is recognised, or `kind:path`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labelgen.data.dataset import Dataset, DataSpec
from labelgen.data.readers.ade20k import is_ade20k, open_ade20k
from labelgen.data.readers.camvid import is_camvid, open_camvid
from labelgen.data.readers.cityscapes import is_cityscapes, open_cityscapes
from labelgen.data.readers.coco import is_coco, open_coco
from labelgen.data.readers.demo import open_demo
from labelgen.data.readers.folder import is_folder, open_folder
from labelgen.data.readers.images import is_images, open_images
from labelgen.data.readers.voc import is_voc, open_voc
from labelgen.errors import DataError

__all__ = ["LAYOUTS", "Layout", "open_data", "parse_source", "reopen"]


@dataclass(frozen=True)
class Layout:
    """One row of `LAYOUTS`.

    Parameters
    ----------
    open
        Opens the data of a spec.
    recognise
        Whether a folder or file has this layout.
    looks_like
        What is looked for: for messages.
    """

    open: Callable[[DataSpec], Dataset]
    recognise: Callable[[Path], bool]
    looks_like: str


LAYOUTS: dict[str, Layout] = {
    "demo": Layout(open_demo, lambda path: False, "built-in scenes"),
    "voc": Layout(open_voc, is_voc, "SegmentationClass/ or SegmentationClassAug/, or JPEGImages/ and ImageSets/"),
    "cityscapes": Layout(open_cityscapes, is_cityscapes, "leftImg8bit/ or gtFine/"),
    "ade20k": Layout(open_ade20k, is_ade20k, "annotations/training/ or annotations/validation/"),
    "coco": Layout(open_coco, is_coco, "annotations/panoptic_*.json or instances_*.json, stuffthingmaps/, or a .json"),
    "camvid": Layout(open_camvid, is_camvid, "trainannot/ or valannot/"),
    "folder": Layout(open_folder, is_folder, "images/ or masks/, or img_dir/ or ann_dir/"),
    "images": Layout(open_images, is_images, "pictures directly in it"),
}
"""In this order a path is tried."""

MOST_SCENES = 1_000_000  # in `demo:N`

_KIND = re.compile(r"(?P<kind>[A-Za-z][A-Za-z0-9_-]+):(?P<path>.*)", re.DOTALL)  # one letter is a Windows drive


def open_data(
    text: str = "demo",
    *,
    split: str = "",
    vocabulary: str = "",
    ids_file: str = "",
    limit: int = 0,
    tags: str = "",
) -> Dataset:
    """Open a data set.

    Parameters
    ----------
    text
        `demo`, `demo:N` for N scenes of the split, a path whose layout is recognised, or `kind:path` with a kind out
        of `LAYOUTS`.
    split
        train, val, ...; empty for train where there is one, else for the only split.
    vocabulary
        Built-in name, .toml or .txt file, or `classes:` and a list; empty for that of the layout.
    ids_file
        File with one id a line; empty for all.
    limit
        Only the first so many ids; 0 for all.
    tags
        JSON, CSV or folder of VOC XML with image-level tags; empty to derive them from truth.

    Raises
    ------
    DataError
        When the path, its layout or the split does not exist, or nothing is left.

    Examples
    --------
    >>> data = open_data("demo", split="val", limit=2)
    >>> data.ids, data.vocabulary.name
    (('val_0000', 'val_0001'), 'voc')
    """
    kind, root = parse_source(text)
    if vocabulary.endswith((".toml", ".txt")):
        vocabulary = _absolute(vocabulary)
    spec = DataSpec(
        kind=kind,
        root=root,
        split=split,
        vocabulary=vocabulary,
        ids_file=_absolute(ids_file) if ids_file else "",
        limit=limit,
        tags=_absolute(tags) if tags else "",
    )
    return reopen(spec)


def reopen(spec: DataSpec) -> Dataset:
    """Open the data of a spec again, for example of the one that a run keeps.

    Raises
    ------
    DataError
        As `open_data`.
    """
    if spec.kind not in LAYOUTS:
        raise DataError(f"unknown kind of data {spec.kind!r}", hint=f"kinds: {', '.join(LAYOUTS)}")
    if spec.kind != "demo" and not Path(spec.root).exists():
        raise DataError(f"data not found: {spec.root}", hint="check the path; `demo` needs none")
    return LAYOUTS[spec.kind].open(spec)


def parse_source(text: str) -> tuple[str, str]:
    """Split what was typed into kind and absolute path.

    Raises
    ------
    DataError
        When the kind is unknown, or the path is missing or of no known layout.

    Examples
    --------
    >>> parse_source("demo"), parse_source("demo:2000")
    (('demo', ''), ('demo', '2000'))
    """
    if text in ("", "demo", "demo:"):
        return "demo", ""
    match = _KIND.fullmatch(text)
    if match and not Path(text).exists():
        kind, path = match["kind"].lower(), match["path"]
        if kind not in LAYOUTS:
            raise DataError(f"unknown kind of data {kind!r} in {text!r}", hint=f"kinds: {', '.join(LAYOUTS)}")
        if kind == "demo":
            return kind, _number_of_scenes(path)
        if not path:
            raise DataError(f"{text!r} must be demo, a path or kind:path", hint=f"kinds: {', '.join(LAYOUTS)}")
        return kind, _absolute(path)
    path = Path(_absolute(text))
    if not path.exists():
        raise DataError(f"data not found: {path}", hint="give demo, a path, or kind:path such as voc:DIR")
    return _recognise(path), str(path)


def _number_of_scenes(text: str) -> str:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_SCENES):
        raise DataError(
            f"demo:N draws N scenes, 1 to {MOST_SCENES:,}, got {text!r}", hint="demo alone draws the usual number"
        )
    return str(int(text))


def _recognise(path: Path) -> str:
    if (path / "run.json").is_file():
        raise DataError(f"{path} is a run folder, not a data set", hint="name the images and truth, such as voc:DIR")
    for kind, layout in LAYOUTS.items():
        if layout.recognise(path):
            return kind
    looked = "; ".join(f"{layout.looks_like} ({kind})" for kind, layout in LAYOUTS.items() if kind != "demo")
    raise DataError(f"no known layout in {path}", hint=f"name it as kind:path; looked for {looked}")


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
