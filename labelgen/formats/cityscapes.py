"""Cityscapes: PNGs of label ids, of train ids and, if wanted, of instance ids for each image, below gtFine."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from labelgen.data.files import list_files
from labelgen.data.raw_ids import raw_ids_of
from labelgen.data.readers.cityscapes import FIRST_INSTANCE, LABEL_IDS, MASKS, TRAIN_IDS
from labelgen.errors import ConfigError, DataError
from labelgen.formats.class_names import OTHERS, ClassNames
from labelgen.formats.format import Exported, ExportOptions, Progress, ReadOptions, Written
from labelgen.formats.mask_files import MaskReader
from labelgen.formats.target import new_folder, provenance, write_below
from labelgen.masks import LabelMap, encode_mask, label_dtype, read_mask
from labelgen.vocab import Vocabulary, load_vocabulary

__all__ = ["instance_ids", "open_cityscapes_masks", "write_cityscapes"]

UNLABELLED_ID = 0  # `unlabeled` among the label ids of Cityscapes; no class that is evaluated
ENDINGS = ("_gtFine_labelIds.png", "_gtFine_labelTrainIds.png")
INSTANCES = "_gtFine_instanceIds.png"
THINGS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
"""Humans and vehicles, the classes whose objects Cityscapes counts (Cordts et al., CVPR 2016)."""


def write_cityscapes(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write `gtFine/SPLIT/ID_gtFine_labelIds.png` and `..._labelTrainIds.png`.

    Unlabelled is label id 0 and train id 255. The ids are those of the vocabulary `cityscapes`, found by class name.
    With `instances`, `..._instanceIds.png` numbers the connected components of humans and vehicles (`instance_ids`).

    Raises
    ------
    ConfigError
        When a class is none of Cityscapes.
    """
    official = load_vocabulary("cityscapes")
    train = _train_ids(exported.vocabulary, official)
    label_ids = np.full(train.shape, UNLABELLED_ID, np.uint8)
    is_class = train != official.ignore
    label_ids[is_class] = np.array(official.raw_ids, np.uint8)[train[is_class]]
    is_thing = np.isin(train, [official.classes.index(name) for name in THINGS])
    split = "train" if exported.split == "default" else exported.split
    with new_folder(out, provenance(exported, "cityscapes"), overwrite=options.overwrite) as folder:
        for number, sample_id in enumerate(exported.ids, start=1):
            labels = exported.labels(sample_id)
            maps: dict[str, np.ndarray] = dict(zip(ENDINGS, (label_ids[labels], train[labels]), strict=True))
            if options.instances:
                maps[INSTANCES] = instance_ids(labels, label_ids, is_thing, ignore=exported.vocabulary.ignore)
            for ending, ids in maps.items():
                write_below(folder, f"{MASKS}/{split}/{sample_id}{ending}", encode_mask(ids))
            progress(number, len(exported.ids), "")
    strays = [i for i in exported.ids if i.count("/") != 1]
    notes = [f"ids are not CITY/NAME, such as {strays[0]}; scripts of Cityscapes look for a city"] if strays else []
    recipe = [f"open it as data: labelgen quality RUN --truth cityscapes:{out.as_posix()}"]
    return Written((3 if options.instances else 2) * len(exported.ids), notes, recipe)


def instance_ids(
    labels: LabelMap,
    label_ids: UInt8[np.ndarray, "I"],
    is_thing: Bool[np.ndarray, "I"],
    *,
    ignore: int,
) -> UInt16[np.ndarray, "H W"]:
    """Label id * 1000 + k in the k-th 8-connected component of a thing, k from 0; elsewhere the label id alone.

    Components after the first 1000 of a class have its label id alone, too, which is how groups are written.

    Parameters
    ----------
    label_ids, is_thing
        By class id, `ignore` included.

    Examples
    --------
    >>> labels = np.array([[1, 0, 1], [0, 0, 255]], np.uint8)
    >>> label_ids, is_thing = np.zeros(256, np.uint8), np.arange(256) == 1
    >>> label_ids[:2] = 7, 26
    >>> instance_ids(labels, label_ids, is_thing, ignore=255).tolist()
    [[26000, 7, 26001], [7, 7, 0]]
    """
    from labelgen.geometry.components import label_components

    ids = label_ids[labels].astype(np.uint16)
    numbers, facts = label_components(labels, ignore=ignore)
    for class_id in np.flatnonzero(is_thing):
        chosen = np.flatnonzero(facts[:, 0] == class_id)[:FIRST_INSTANCE]
        written = np.full(len(facts) + 1, ids.dtype.type(0))  # the last is read by -1, pixels without a label
        written[chosen] = int(label_ids[class_id]) * FIRST_INSTANCE + np.arange(len(chosen))
        ids = np.where(written[numbers] > 0, written[numbers], ids)
    return ids


def _train_ids(vocabulary: Vocabulary, official: Vocabulary) -> np.ndarray:
    """Train id of each class id of a vocabulary, whose classes may be some of Cityscapes in any order."""
    names = [official.aliases.get(name, name) for name in vocabulary.classes]
    foreign = [name for name in names if name not in official.classes]
    if foreign:
        raise ConfigError(
            f"Cityscapes ids are for the classes of Cityscapes, got {', '.join(foreign[:5])} "
            f"in vocabulary {vocabulary.name!r}",
            hint=f"its classes: {', '.join(official.classes)}; --to voc takes any",
        )
    table = np.full(vocabulary.ignore + 1, official.ignore, np.uint8)
    table[: len(names)] = [official.classes.index(name) for name in names]
    return table


def open_cityscapes_masks(path: Path, names: ClassNames, options: ReadOptions) -> MaskReader:
    """Open a folder with gtFine/ or a folder below it; label ids are read where there are some, else train ids.

    An id is the path below the folder of the split. Label ids of classes that are not evaluated are unlabelled.

    Raises
    ------
    DataError
        When there is no such mask, or a split must be chosen.
    VocabularyError
        When a class of Cityscapes is none of the vocabulary.
    """
    folder = _split_folder(path)
    files = list_files(folder, (LABEL_IDS,), deep=True)
    own_ids = bool(files)
    files = files or list_files(folder, (TRAIN_IDS,), deep=True)
    if not files:
        raise DataError(f"no *{ENDINGS[0]} or *{ENDINGS[1]} in {folder}", hint="is it the right --from?")
    official = load_vocabulary("cityscapes")
    raw = raw_ids_of(official, own_ids=own_ids)
    class_of = _class_of_train_id(names, official, str(folder))

    def read(sample_id: str, size: tuple[int, int]) -> tuple[LabelMap, Path]:
        file = folder / files[sample_id]
        official_ids = raw.apply(read_mask(file), where=str(file))
        labels = class_of[official_ids]
        if labels.size and labels.min() < 0:
            name = official.classes[int(official_ids[labels < 0][0])]
            names.ids_of([name], where=str(file))
        return labels.astype(label_dtype(names.vocabulary.ignore)), file

    return MaskReader(path, frozenset(files), names.vocabulary, read)


def _class_of_train_id(names: ClassNames, official: Vocabulary, where: str) -> np.ndarray:
    """Class id of each train id; -1 for classes that the vocabulary lacks, which is an error where they occur."""
    table = np.full(official.ignore + 1, -1, np.int64)
    table[official.ignore] = names.vocabulary.ignore
    known = {*names.vocabulary.classes, *names.vocabulary.aliases, *names.renamed}
    for train_id, name in enumerate(official.classes):
        if name in known or OTHERS in names.renamed:
            table[train_id] = names.ids_of([name], where=where)[name]
    return table


def _split_folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"no such folder: {path}", hint="it holds gtFine/")
    if not (path / MASKS).is_dir():
        return path
    splits = sorted(p for p in (path / MASKS).glob("[!.]*") if p.is_dir())
    if len(splits) != 1:
        raise DataError(
            f"a split must be chosen in {path}, got {', '.join(p.name for p in splits) or 'none'}",
            hint=f"name its folder: {(path / MASKS).as_posix()}/SPLIT",
        )
    return splits[0]
