"""Open data of which only the pictures are looked at, so that nothing has to say what the classes are."""

from dataclasses import replace

from labelgen.commands.common import DataFlags, ImageFlags, open_dataset_from
from labelgen.data.dataset import Dataset
from labelgen.data.disk import DiskDataset
from labelgen.errors import VocabularyError

__all__ = ["open_pictures"]

ANY_CLASSES = "classes:object"  # never looked at


def open_pictures(images: ImageFlags | None, data: str) -> Dataset:
    """Open the data set that the command line names; a folder of pictures needs no names of classes.

    Such a data set has a vocabulary without meaning, which its spec does not mention.
    """
    flags = DataFlags(**vars(images or ImageFlags()))
    try:
        return open_dataset_from(flags, data)
    except VocabularyError:
        dataset = open_dataset_from(replace(flags, vocab=ANY_CLASSES), data)
    assert isinstance(dataset, DiskDataset)  # layouts with classes of their own do not lack them
    return replace(dataset, spec=replace(dataset.spec, vocabulary=""))
