"""COCO categories matched to the classes of a vocabulary."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelgen.errors import DataError
from labelgen.vocab import Vocabulary

__all__ = ["classes_of_categories"]


def classes_of_categories(
    categories: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, *, where: Path
) -> dict[int, int]:
    """Find the class of each category by name or alias.

    Returns
    -------
    dict
        Class id of each category id; categories without a partner are background where the vocabulary has one.

    Raises
    ------
    DataError
        When a category has no partner and there is no background, or a class has no category.

    Examples
    --------
    >>> vocabulary = Vocabulary("v", ("background", "dog"), background=0)
    >>> classes_of_categories([{"id": 18, "name": "dog"}, {"id": 7, "name": "sky"}], vocabulary, where=Path("x.json"))
    {18: 1, 7: 0}
    """
    index = {name: number for number, name in enumerate(vocabulary.classes)}
    index |= {alias: index[name] for alias, name in vocabulary.aliases.items()}
    found = {int(c["id"]): index.get(str(c["name"]), vocabulary.background) for c in categories}
    lonely = [str(c["name"]) for c in categories if found[int(c["id"])] is None]
    missing = [
        name
        for number, name in enumerate(vocabulary.classes)
        if number not in found.values() and number != vocabulary.background
    ]
    for what, names in (("categories without a class", lonely), ("classes without a category", missing)):
        if names:
            shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
            raise DataError(
                f"vocabulary {vocabulary.name!r} does not fit the categories of {where}: {len(names)} {what} ({shown})",
                hint="leave --vocab out to take the categories of the file, or give a .toml file with [aliases]",
            )
    return {category: class_id for category, class_id in found.items() if class_id is not None}
