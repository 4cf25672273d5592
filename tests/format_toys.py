"""Tiny data sets with awkward ids, sizes and classes for tests of file formats, on disk with masks beside images."""

import hashlib
import json

import numpy as np
from PIL import Image

from labelgen.data.open import open_data
from labelgen.formats.export_masks import export_masks
from labelgen.formats.format import ExportOptions
from labelgen.formats.import_masks import MaskImportConfig, open_masks
from labelgen.masks import harden, write_mask
from labelgen.store import MaskFolder
from labelgen.vocab import Vocabulary, load_vocabulary

SIZES = {"a/00.jpg": (5, 7), "a/frame.1.png": (9, 4), "b/c d/02.jpg": (3, 11), "void.jpg": (4, 4), "whole.jpg": (6, 5)}
"""Image files; their ids are these without suffix. All pixels of `void` are unlabelled, none of `whole`."""

IDS = tuple(sorted(name.rpartition(".")[0] for name in SIZES))

VOCABULARIES = {
    "background": Vocabulary("toy", ("ground", "cat", "dog & co", "été"), background=0),
    "later": Vocabulary("toy", ("cat", "ground", "dog"), background=1, palette=((0, 0, 0), (9, 9, 9), (9, 9, 9))),
    "without": Vocabulary("toy", ("sky", "sea", "sand")),
    "wide": Vocabulary("toy", tuple(f"class {i}" for i in range(300)), background=0),
    "cityscapes": load_vocabulary("cityscapes"),
}


def labels_of(sample_id, size, vocabulary):
    """Blobs of all classes, a few pixels unlabelled; the same for the same id."""
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(sample_id.encode()).digest(), "<u4"))
    dtype = np.uint8 if vocabulary.ignore <= 255 else np.uint16
    labels = rng.integers(vocabulary.num_classes, size=size).astype(dtype)
    labels[:, : size[1] // 2] = vocabulary.num_classes - 1
    if sample_id != "whole":
        labels[-2:, -2:] = vocabulary.ignore
    if sample_id == "void":
        labels[:] = vocabulary.ignore
    return labels


def toy_data(root, name="background"):
    """A folder data set, and its masks as the labels to export."""
    vocabulary = VOCABULARIES[name]
    root.mkdir(parents=True)
    classes = json.dumps(vocabulary.classes, ensure_ascii=False)
    lines = [f'name = "{vocabulary.name}"', f"classes = {classes}"]
    lines += [] if vocabulary.background is None else [f"background = {vocabulary.background}"]
    lines += [f"palette = {[list(colour) for colour in vocabulary.palette]}"] if vocabulary.palette else []
    (root / "vocabulary.toml").write_text("\n".join(lines), encoding="utf-8")
    for number, (file, size) in enumerate(SIZES.items()):
        path = root / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), 40 * number, np.uint8)).save(path)
        sample_id = file.rpartition(".")[0]
        write_mask(root / "masks" / f"{sample_id}.png", labels_of(sample_id, size, vocabulary))
    dataset = open_data(f"folder:{root}")
    return dataset, MaskFolder(root / "masks", vocabulary=dataset.vocabulary)


def export(labels, name, out, *, dataset=None, ids=IDS, **options):
    """Export without a progress bar."""
    return export_masks(labels, name, out, ExportOptions(**options), ids=ids, dataset=dataset, progress=lambda *_: None)


def read_back(name, path, vocabulary, **settings):
    """A function that gives the label map of an id and size."""
    masks = open_masks(MaskImportConfig(name, path.as_posix(), **settings), vocabulary)
    return lambda sample_id, size: harden(masks.mask(sample_id, size), ignore=vocabulary.ignore)


def tree(path):
    """Every file below a folder, or the file, with its bytes."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
