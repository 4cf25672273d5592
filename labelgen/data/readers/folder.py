"""Any images with masks of the same relative name: images/ and masks/, with or without one subfolder a split."""

from dataclasses import replace
from pathlib import Path

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import DiskDataset, MaskFiles
from labelgen.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, FileTable, list_files
from labelgen.data.raw_ids import RawIds, raw_ids_of
from labelgen.data.selection import choose_split, read_lines, select_ids
from labelgen.data.tags import open_tags
from labelgen.errors import DataError, VocabularyError
from labelgen.vocab import Vocabulary, load_vocabulary

__all__ = ["folder_vocabulary", "is_folder", "open_folder"]

PAIRS = (("images", "masks"), ("img_dir", "ann_dir"))
USUAL_SPLITS = ("train", "val", "test", "training", "validation", "trainval")
CLASSES_FILE = "classes.txt"
VOCABULARY_FILE = "vocabulary.toml"


def is_folder(root: Path) -> bool:
    """Whether a folder holds images/ or masks/ (or img_dir/, ann_dir/)."""
    return any((root / name).is_dir() for pair in PAIRS for name in pair)


def open_folder(spec: DataSpec) -> DiskDataset:
    """Open a folder of images and masks that share their relative names without suffix.

    The vocabulary is `--vocab`, or `vocabulary.toml` in the root, or `classes.txt` there (one name a line; a first
    line `background` makes id 0 the background). A pixel is a class id, 255 void; `raw_ids` and `void_ids` hold for
    TOML files, not for built-in vocabularies by name; masks of 0 and 255 need a TOML file with `raw_ids = [0, 255]`,
    because 255 is void otherwise. Splits are subfolders (`images/train`) or lists (`train.txt`);
    without either, all files are one nameless split.
    """
    root = Path(spec.root)
    vocabulary, raw_ids = folder_vocabulary(root, spec.vocabulary)
    images, masks = next((p for p in PAIRS if any((root / name).is_dir() for name in p)), PAIRS[0])
    splits = _splits(root, images, masks)
    split = choose_split(spec.split, splits, root=root) if splits or spec.split else ""
    spec = replace(spec, split=split)
    listed = (root / f"{split}.txt").is_file() if split else False
    below = "" if listed or not split else f"/{split}"
    image_names = list_files(root / f"{images}{below}", IMAGE_SUFFIXES, root=root, deep=True)
    mask_names = list_files(root / f"{masks}{below}", MASK_SUFFIXES, root=root, deep=True)
    _check_pairs(image_names, mask_names, root)
    ids = read_lines(root / f"{split}.txt") if listed else image_names.keys() | mask_names.keys()
    return DiskDataset(
        spec,
        vocabulary,
        select_ids(ids, spec, splits=splits),
        FileTable(root, image_names, "image", f"{images}{below}/{{id}}.jpg, .jpeg or .png"),
        MaskFiles(FileTable(root, mask_names, "mask", f"{masks}{below}/{{id}}.png"), raw_ids) if mask_names else None,
        open_tags(spec.tags, vocabulary),
    )


def _splits(root: Path, images: str, masks: str) -> list[str]:
    folders = (root / images / s for s in USUAL_SPLITS), (root / masks / s for s in USUAL_SPLITS)
    found = {path.name for group in folders for path in group if path.is_dir()}
    return sorted(found | {s for s in USUAL_SPLITS if (root / f"{s}.txt").is_file()})


def _check_pairs(images: dict[str, str], masks: dict[str, str], root: Path) -> None:
    if images and masks and not images.keys() & masks.keys():
        lonely = ", ".join(sorted(images.values())[:5])
        raise DataError(
            f"no image has a mask of the same name in {root}; images without: {lonely}",
            hint=f"masks there: {', '.join(sorted(masks.values())[:5])}",
        )


def folder_vocabulary(root: Path, name: str) -> tuple[Vocabulary, RawIds]:
    """The classes of a folder: those named on the command line, or in `vocabulary.toml` or `classes.txt` in it.

    Raises
    ------
    VocabularyError
        When nothing names them.
    """
    if name:
        vocabulary = load_vocabulary(name)
        return vocabulary, raw_ids_of(vocabulary, own_ids=name.endswith(".toml"))
    if (root / VOCABULARY_FILE).is_file():
        vocabulary = load_vocabulary(str(root / VOCABULARY_FILE))
        return vocabulary, raw_ids_of(vocabulary)
    if (root / CLASSES_FILE).is_file():
        classes = _class_names(root / CLASSES_FILE)
        background = 0 if classes[:1] == ("background",) else None
        vocabulary = Vocabulary(root.name or "folder", classes, background=background)
        return vocabulary, raw_ids_of(vocabulary)
    raise VocabularyError(
        f"the classes of a folder must be named, and {root} does not say them",
        hint=f"give --vocab NAME or FILE.toml, or put {CLASSES_FILE} (one name a line, line 1 is id 0) there; "
        "methods that know classes by words take --classes 'cat, dog'",
    )


def _class_names(path: Path) -> tuple[str, ...]:
    """Names by line. Blank lines are skipped only at the end: one in between would shift the ids of all that follow."""
    names = [name.strip() for name in _text(path).rstrip().splitlines()]
    if "" in names:
        raise VocabularyError(
            f"line {names.index('') + 1} is blank in {path}, so the ids below are in doubt",
            hint="line 1 is id 0: write a name for each id, `unused` for one without a class, or remove the line",
        )
    return tuple(names)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VocabularyError(f"class names cannot be read: {path} ({error})", hint="one a line, in UTF-8") from error
