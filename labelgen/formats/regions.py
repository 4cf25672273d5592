"""Label maps as lists of regions: one for each class of an image, or one for each connected component."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary

__all__ = ["regions_of"]


def regions_of(
    labels: LabelMap, vocabulary: Vocabulary, *, instances: bool = False
) -> Iterator[tuple[int, Bool[np.ndarray, "H W"]]]:
    """Class and pixels of each region, by class id, then in reading order; unlabelled pixels are in none.

    Parameters
    ----------
    instances
        Each 8-connected component of a class is a region, except for the background, which is one region.

    Examples
    --------
    >>> labels = np.array([[1, 255, 1], [0, 0, 255]], np.uint8)
    >>> cat = Vocabulary("v", ("ground", "cat"), background=0)
    >>> [(class_id, int(mask.sum())) for class_id, mask in regions_of(labels, cat)]
    [(0, 2), (1, 2)]
    >>> [(class_id, int(mask.sum())) for class_id, mask in regions_of(labels, cat, instances=True)]
    [(0, 2), (1, 1), (1, 1)]
    """
    present = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=vocabulary.num_classes)).tolist()
    present = [class_id for class_id in present if class_id != vocabulary.ignore]
    if not instances:
        yield from ((class_id, labels == class_id) for class_id in present)
        return
    from labelgen.geometry.components import label_components

    numbers, facts = label_components(labels, ignore=vocabulary.ignore)
    for class_id in present:
        if class_id == vocabulary.background:
            yield class_id, labels == class_id
        else:
            yield from ((class_id, numbers == number) for number in np.flatnonzero(facts[:, 0] == class_id))
