"""ADE20K scene parsing: images/training, annotations/training; raw 0 is void, k is class k - 1."""

from dataclasses import replace
from pathlib import Path

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import DiskDataset, MaskFiles
from labelgen.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, FileTable, list_files
from labelgen.data.raw_ids import raw_ids_of
from labelgen.data.selection import choose_split, select_ids
from labelgen.data.tags import open_tags
from labelgen.errors import DataError
from labelgen.vocab import load_vocabulary

__all__ = ["is_ade20k", "open_ade20k"]

FOLDERS = {"train": "training", "val": "validation"}
NESTED = ("", "ADEChallengeData2016")  # where the download keeps the data


def is_ade20k(root: Path) -> bool:
    """Whether a folder looks like ADE20K scene parsing."""
    return any(_splits(root / nested) for nested in NESTED)


def open_ade20k(spec: DataSpec) -> DiskDataset:
    """Open ADE20K; splits are `train` and `val` (`training` and `validation` mean the same)."""
    root = next((Path(spec.root) / nested for nested in NESTED if _splits(Path(spec.root) / nested)), None)
    if root is None:
        raise DataError(f"no ADE20K data in {spec.root}", hint="looked for annotations/training/ and validation/")
    vocabulary = load_vocabulary(spec.vocabulary or "ade20k")
    short_names = {folder: split for split, folder in FOLDERS.items()}
    splits = _splits(root)
    split = choose_split(short_names.get(spec.split, spec.split), splits, root=root)
    spec = replace(spec, split=split)
    images = list_files(root / "images" / FOLDERS[split], IMAGE_SUFFIXES, root=root)
    masks = list_files(root / "annotations" / FOLDERS[split], MASK_SUFFIXES, root=root)
    mask_files = FileTable(root, masks, "mask", f"annotations/{FOLDERS[split]}/{{id}}.png")
    return DiskDataset(
        spec,
        vocabulary,
        select_ids(images.keys() | masks.keys(), spec, splits=splits),
        FileTable(root, images, "image", f"images/{FOLDERS[split]}/{{id}}.jpg"),
        MaskFiles(mask_files, raw_ids_of(vocabulary)),
        open_tags(spec.tags, vocabulary),
    )


def _splits(root: Path) -> list[str]:
    return [split for split, folder in FOLDERS.items() if (root / "annotations" / folder).is_dir()]
