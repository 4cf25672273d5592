"""Ids of a mask that comes with its own list of classes, mapped to those of a vocabulary."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.raw_ids import RawIds
from labelgen.errors import ConfigError, DataError
from labelgen.formats.class_names import ClassNames
from labelgen.masks import LabelMap, label_dtype

__all__ = ["ToIds", "by_class_list"]

ToIds = Callable[[np.ndarray, Any, Any, str], LabelMap]
"""Called as `to_ids(mask, classes, ignore, where)`: ids as in the file, its list of classes, and its ignore id."""


def by_class_list(names: ClassNames, own: RawIds, path: Path) -> ToIds:
    """The function that maps the ids of a mask by the names that its file gives them, `{"12": "dog"}`.

    Where a file gives none, ids are those of the vocabulary. Names that do not occur in a mask may be unknown.
    """

    def to_ids(mask: np.ndarray, classes: Any, ignore: Any, where: str) -> LabelMap:
        if classes is None:
            if names.renamed:
                raise ConfigError(f"--map is for names, but {path} has none", hint="leave --map out")
            return own.apply(mask, where=where)
        if not isinstance(classes, Mapping) or not all(str(key).isdecimal() for key in classes):
            raise DataError(f"classes must be given by id, such as {{'12': 'dog'}}, got {classes!r:.60} in {where}")
        listed = {int(key): str(name) for key, name in classes.items()}
        present, inverse = np.unique(mask, return_inverse=True)
        no_label = {ignore} if isinstance(ignore, int) else {int(np.iinfo(mask.dtype).max)}
        used = [i for i in present.tolist() if i not in no_label]
        lonely = [i for i in used if i not in listed]
        if lonely:
            raise DataError(f"ids must be those of its list of classes, got {lonely[0]} in {where}")
        found = names.ids_of(dict.fromkeys(listed[i] for i in used), where=where)
        none = names.vocabulary.ignore
        ids = [none if i in no_label else found[listed[i]] for i in present.tolist()]
        return np.array(ids, label_dtype(none))[inverse].reshape(mask.shape)

    return to_ids
