"""Ids as the files of a data set hold them, mapped to vocabulary ids once, where they are read."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer

from labelgen.errors import DataError
from labelgen.masks import LabelMap, has_foreign, label_dtype
from labelgen.vocab import Vocabulary

__all__ = ["RawIds", "raw_ids_of"]


@dataclass(frozen=True, eq=False)
class RawIds:
    """Look-up table from the ids in files to those of a vocabulary.

    Parameters
    ----------
    vocabulary
        Name for messages.
    table
        Vocabulary id of each raw id; `ignore` where the raw id is void or unknown.
    known
        False for raw ids that must not occur.
    identity
        True when raw and vocabulary ids are the same, so that nothing has to be looked up.
    """

    vocabulary: str
    table: Integer[np.ndarray, " N"]
    known: Bool[np.ndarray, " N"]
    identity: bool
    num_classes: int
    ignore: int

    def apply(self, raw: Integer[np.ndarray, "H W"], *, where: str) -> LabelMap:
        """Map raw ids to vocabulary ids.

        Parameters
        ----------
        where
            The file, for messages.

        Raises
        ------
        DataError
            When an id is in no table; it names the id and the file.

        Examples
        --------
        >>> from labelgen.vocab import Vocabulary
        >>> table = raw_ids_of(Vocabulary("v", ("a", "b"), raw_ids=(1, 2), void_ids=(0,)))
        >>> table.apply(np.array([[0, 1, 2, 255]], np.uint8), where="x.png")
        array([[255,   0,   1, 255]], dtype=uint8)
        """
        if self.identity and raw.dtype == self.table.dtype:
            if has_foreign(raw, num_classes=self.num_classes, ignore=self.ignore):
                raise self._foreign(raw, where)
            return raw if raw.flags.writeable else raw.copy()
        if raw.size and int(raw.max()) >= len(self.table):
            raise self._foreign(raw, where)
        labels = self.table.take(raw)
        suspects = raw[labels == self.ignore]  # unknown ids lead there too; to look at these alone is quick
        if not self.known[suspects].all():
            raise self._foreign(raw, where)
        return labels

    def _foreign(self, raw: np.ndarray, where: str) -> DataError:
        present = np.unique(raw)
        foreign = [int(i) for i in present if i >= len(self.table) or not self.known[i]]
        shown = ", ".join(map(str, foreign[:5])) + (" ..." if len(foreign) > 5 else "")
        allowed = ", ".join(_ranges(np.flatnonzero(self.known)))
        return DataError(
            f"masks of vocabulary {self.vocabulary!r} must hold the ids {allowed}, got {shown} in {where}",
            hint="name the vocabulary that these masks were written with: --vocab NAME, or --vocab FILE.toml with "
            "raw_ids and void_ids; `labelgen vocabs` lists the built-in ones",
        )


def _ranges(ids: np.ndarray) -> list[str]:
    runs = np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1)
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def raw_ids_of(vocabulary: Vocabulary, *, own_ids: bool = True) -> RawIds:
    """Build the table of a vocabulary.

    Parameters
    ----------
    own_ids
        True: the files hold `vocabulary.raw_ids` and `void_ids`. False: they hold vocabulary ids.

    Examples
    --------
    >>> from labelgen.vocab import load_vocabulary
    >>> int(raw_ids_of(load_vocabulary("cityscapes")).table[26])  # 26 is car in *_labelIds.png
    13
    """
    ignore = vocabulary.ignore
    raw = vocabulary.raw_ids if own_ids and vocabulary.raw_ids else tuple(range(vocabulary.num_classes))
    void = vocabulary.void_ids if own_ids else ()
    table = np.full(max(ignore, *raw, *void, 0) + 1, ignore, label_dtype(ignore))
    known = np.zeros(len(table), bool)
    known[[ignore, *void]] = True
    table[list(raw)] = np.arange(vocabulary.num_classes)
    known[list(raw)] = True
    return RawIds(vocabulary.name, table, known, raw == tuple(range(len(raw))) and not void, len(raw), ignore)
