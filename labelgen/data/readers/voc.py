"""PASCAL VOC: JPEGImages, SegmentationClass, ImageSets/Segmentation; also PASCAL Context in the same folders."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import DiskDataset, MaskFiles
from labelgen.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, FileTable, list_files
from labelgen.data.raw_ids import raw_ids_of
from labelgen.data.selection import choose_split, id_of_line, read_lines, select_ids
from labelgen.data.tags import open_tags
from labelgen.errors import DataError
from labelgen.masks import read_mask
from labelgen.vocab import load_vocabulary

__all__ = ["is_voc", "open_voc"]

IMAGES = "JPEGImages"
MASKS = ("SegmentationClass", "SegmentationClassAug")  # the later ones for ids that the earlier ones lack
LISTS = "Segmentation"
CONTEXT_MASKS = ("SegmentationClassContext",)  # PASCAL Context, as converted for OpenMMLab
CONTEXT_LISTS = "SegmentationContext"
NESTED = ("", "VOC2012", "VOCdevkit/VOC2012")  # where the download keeps the data
OBJECTS = "SegmentationObject"
VOID_OBJECT = 255  # the ring around the objects


def is_voc(root: Path) -> bool:
    """Whether a folder looks like PASCAL VOC."""
    return any(_has_voc_folders(root / nested) for nested in NESTED)


def _has_voc_folders(root: Path) -> bool:
    masks = any((root / name).is_dir() for name in (*MASKS, *CONTEXT_MASKS))
    return masks or ((root / IMAGES).is_dir() and (root / "ImageSets").is_dir())


def open_voc(spec: DataSpec) -> DiskDataset:
    """Open a VOC folder; vocabulary `voc` unless another is named.

    Masks come from SegmentationClass, and from SegmentationClassAug for ids that it lacks; with `context59` or
    `context60` from SegmentationClassContext. Instances come from SegmentationObject where it is there. Without
    ImageSets all masks are one nameless split.
    """
    root = next((Path(spec.root) / n for n in NESTED if _has_voc_folders(Path(spec.root) / n)), None)
    if root is None:
        raise DataError(
            f"no VOC data in {spec.root}", hint=f"looked for {MASKS[0]}/, {MASKS[1]}/ or {IMAGES}/ + ImageSets/"
        )
    vocabulary = load_vocabulary(spec.vocabulary or "voc")
    context = vocabulary.base_name in ("context59", "context60")
    mask_folders, lists = (CONTEXT_MASKS, CONTEXT_LISTS) if context else (MASKS, LISTS)
    masks: dict[str, str] = {}
    for folder in reversed(mask_folders):
        masks |= list_files(root / folder, MASK_SUFFIXES, root=root)
    split, ids, splits = _split_ids(root / "ImageSets" / lists, spec, masks)
    spec = replace(spec, split=split)
    return DiskDataset(
        spec,
        vocabulary,
        select_ids(ids, spec, splits=splits),
        FileTable(root, list_files(root / IMAGES, IMAGE_SUFFIXES, root=root), "image", f"{IMAGES}/{{id}}.jpg"),
        MaskFiles(
            FileTable(root, masks, "mask", " or ".join(f"{folder}/{{id}}.png" for folder in mask_folders)),
            raw_ids_of(vocabulary),
            _objects(root),
        ),
        open_tags(spec.tags, vocabulary),
    )


def _split_ids(folder: Path, spec: DataSpec, masks: dict[str, str]) -> tuple[str, list[str], list[str]]:
    splits = sorted(path.stem for path in folder.glob("*.txt")) if folder.is_dir() else []
    if not splits and not spec.split:
        return "", list(masks), []
    split = choose_split(spec.split, splits, root=folder)
    return split, [id_of_line(line) for line in read_lines(folder / f"{split}.txt")], splits


def _objects(root: Path) -> "VocObjects | None":
    names = list_files(root / OBJECTS, MASK_SUFFIXES, root=root)
    return VocObjects(FileTable(root, names, "object mask")) if names else None


@dataclass(frozen=True)
class VocObjects:
    """Instances from SegmentationObject: 0 background, 255 void, else the number of the object."""

    files: FileTable

    def instances(self, sample_id: str) -> Int32[np.ndarray, "H W"] | None:
        """Instance numbers of one image, void as 0."""
        if sample_id not in self.files:
            return None
        objects = read_mask(self.files.path(sample_id)).astype(np.int32)
        objects[objects == VOID_OBJECT] = 0
        return objects
