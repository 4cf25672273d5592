"""Pictures alone: a folder of images without any truth, for methods that need none."""

from pathlib import Path

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import DiskDataset
from labelgen.data.files import IMAGE_SUFFIXES, FileTable, list_files
from labelgen.data.readers.folder import folder_vocabulary
from labelgen.data.selection import choose_split, select_ids
from labelgen.data.tags import open_tags
from labelgen.errors import DataError

__all__ = ["is_images", "open_images"]


def is_images(root: Path) -> bool:
    """Whether pictures lie directly in a folder."""
    return root.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in root.iterdir() if p.is_file())


def open_images(spec: DataSpec) -> DiskDataset:
    """Open all pictures below a folder; ids are their relative names without suffix.

    There is no truth. The vocabulary is `--vocab`, or `vocabulary.toml` or `classes.txt` in the folder.

    Raises
    ------
    DataError
        When there is no picture, or a split is asked for: such a folder has none.
    VocabularyError
        When nothing names the classes.
    """
    root = Path(spec.root)
    if spec.split:
        choose_split(spec.split, (), root=root)
    names = list_files(root, IMAGE_SUFFIXES, root=root, deep=True)
    if not names:
        raise DataError(f"no picture in {root}", hint=f"looked for {', '.join(IMAGE_SUFFIXES)}, in subfolders too")
    vocabulary, _ = folder_vocabulary(root, spec.vocabulary)
    files = FileTable(root, names, "image", "{id}.jpg, .jpeg or .png")
    return DiskDataset(spec, vocabulary, select_ids(names, spec), files, None, open_tags(spec.tags, vocabulary))
