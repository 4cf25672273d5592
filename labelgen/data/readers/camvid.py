"""CamVid as distributed with SegNet: train/ and trainannot/, val/ and valannot/; index masks with 11 = void."""

from dataclasses import replace
from pathlib import Path

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import DiskDataset, MaskFiles
from labelgen.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, FileTable, list_files
from labelgen.data.raw_ids import raw_ids_of
from labelgen.data.selection import choose_split, select_ids
from labelgen.data.tags import open_tags
from labelgen.vocab import load_vocabulary

__all__ = ["is_camvid", "open_camvid"]

MASK_FOLDER = "annot"  # appended to the name of the split


def is_camvid(root: Path) -> bool:
    """Whether a folder looks like CamVid of SegNet."""
    return bool(_splits(root))


def open_camvid(spec: DataSpec) -> DiskDataset:
    """Open CamVid in its 11 classes; the original 32-class colour masks are refused as RGB."""
    root = Path(spec.root)
    vocabulary = load_vocabulary(spec.vocabulary or "camvid")
    splits = _splits(root)
    split = choose_split(spec.split, splits, root=root)
    spec = replace(spec, split=split)
    masks = list_files(root / f"{split}{MASK_FOLDER}", MASK_SUFFIXES, root=root)
    images = list_files(root / split, IMAGE_SUFFIXES, root=root)
    return DiskDataset(
        spec,
        vocabulary,
        select_ids(images.keys() | masks.keys(), spec, splits=splits),
        FileTable(root, images, "image", f"{split}/{{id}}.png or .jpg"),
        MaskFiles(FileTable(root, masks, "mask", f"{split}{MASK_FOLDER}/{{id}}.png"), raw_ids_of(vocabulary)),
        open_tags(spec.tags, vocabulary),
    )


def _splits(root: Path) -> list[str]:
    names = (path.name.removesuffix(MASK_FOLDER) for path in root.glob(f"*{MASK_FOLDER}") if path.is_dir())
    return sorted(name for name in names if name)
