"""Which fold an image is in: drawn by a hash of its id, spread evenly over the classes that images show."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Set

from labelgen.errors import ConfigError

__all__ = ["assign_folds"]

NO_CLASS = -1  # the group of images without any label


def assign_folds(classes: Mapping[str, Set[int]], *, folds: int, seed: int = 0) -> dict[str, int]:
    """Deal images out to folds, so that each class is in as many folds as it can be.

    Images are grouped by the rarest of their classes (in the fewest images), ordered within a group by a hash of seed
    and id, and dealt out in turn. Folds differ by at most one image in size, and so do the shares of each group. The
    same images and classes give the same folds, in whatever order they come.

    Parameters
    ----------
    classes
        Class ids that the labels of each image show, by image id.
    folds
        How many, from 2 up to the number of images.

    Returns
    -------
    dict
        Fold of each image, from 0.

    Raises
    ------
    ConfigError
        When there are fewer than two folds, or fewer images than folds.

    Examples
    --------
    >>> found = assign_folds({"a": {0}, "b": {0}, "c": {0, 7}, "d": {0, 7}}, folds=2)
    >>> sorted(found.values()), found["c"] != found["d"]
    ([0, 0, 1, 1], True)
    """
    if not 2 <= folds <= len(classes):
        raise ConfigError(
            f"folds must lie between 2 and the {len(classes)} images, got {folds}", hint="5 is usual: --folds 5"
        )
    images = Counter(class_id for found in classes.values() for class_id in found)

    def group(sample_id: str) -> int:
        return int(min(classes[sample_id], key=lambda class_id: (images[class_id], class_id), default=NO_CLASS))

    def drawn(sample_id: str) -> bytes:
        return hashlib.sha256(f"{seed}\0fold\0{sample_id}".encode()).digest()

    ordered = sorted(classes, key=lambda sample_id: (group(sample_id), drawn(sample_id), sample_id))
    return {sample_id: number % folds for number, sample_id in enumerate(ordered)}
