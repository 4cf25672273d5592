"""Cityscapes: leftImg8bit/<split>/<city>/ and gtFine/<split>/<city>/ with *_labelIds.png or *_labelTrainIds.png."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import DiskDataset, MaskFiles
from labelgen.data.files import FileTable, list_files
from labelgen.data.raw_ids import raw_ids_of
from labelgen.data.selection import choose_split, select_ids
from labelgen.data.tags import open_tags
from labelgen.masks import read_mask
from labelgen.vocab import load_vocabulary

__all__ = ["is_cityscapes", "open_cityscapes"]

IMAGES = "leftImg8bit"
MASKS = "gtFine"
IMAGE_ENDINGS = ("_leftimg8bit.png", "_leftimg8bit.jpg")  # compared in lower case
LABEL_IDS = "_gtfine_labelids.png"
TRAIN_IDS = "_gtfine_labeltrainids.png"
INSTANCE_IDS = "_gtfine_instanceids.png"
FIRST_INSTANCE = 1000  # instance ids are label id * 1000 + number; below, a label id without instances


def is_cityscapes(root: Path) -> bool:
    """Whether a folder looks like Cityscapes."""
    return (root / IMAGES).is_dir() or (root / MASKS).is_dir()


def open_cityscapes(spec: DataSpec) -> DiskDataset:
    """Open Cityscapes; an id is `<city>/<city>_<sequence>_<frame>`.

    `*_labelIds.png` are mapped to the 19 classes by the vocabulary's raw ids; without them `*_labelTrainIds.png`
    are read, whose ids are those of the vocabulary. Instances come from `*_instanceIds.png`.
    """
    root = Path(spec.root)
    vocabulary = load_vocabulary(spec.vocabulary or "cityscapes")
    splits = sorted({p.name for top in (IMAGES, MASKS) for p in (root / top).glob("[!.]*") if p.is_dir()})
    split = choose_split(spec.split, splits, root=root)
    spec = replace(spec, split=split)
    images = list_files(root / IMAGES / split, IMAGE_ENDINGS, root=root, deep=True)
    folder = root / MASKS / split
    masks = list_files(folder, (LABEL_IDS,), root=root, deep=True)
    own_ids = bool(masks)
    masks = masks or list_files(folder, (TRAIN_IDS,), root=root, deep=True)
    objects = list_files(folder, (INSTANCE_IDS,), root=root, deep=True)
    mask_files = FileTable(root, masks, "mask", f"{MASKS}/{split}/{{id}}_gtFine_labelIds.png or _labelTrainIds.png")
    instances = CityscapesObjects(FileTable(root, objects, "instance mask")) if objects else None
    return DiskDataset(
        spec,
        vocabulary,
        select_ids(images.keys() | masks.keys(), spec, splits=splits),
        FileTable(root, images, "image", f"{IMAGES}/{split}/{{id}}_leftImg8bit.png"),
        MaskFiles(mask_files, raw_ids_of(vocabulary, own_ids=own_ids), instances),
        open_tags(spec.tags, vocabulary),
    )


@dataclass(frozen=True)
class CityscapesObjects:
    """Instances from `*_instanceIds.png`."""

    files: FileTable

    def instances(self, sample_id: str) -> Int32[np.ndarray, "H W"] | None:
        """Instance ids as they are in the file (label id * 1000 + number); 0 for classes without instances."""
        if sample_id not in self.files:
            return None
        ids = read_mask(self.files.path(sample_id)).astype(np.int32)
        return np.where(ids >= FIRST_INSTANCE, ids, 0).astype(np.int32)
