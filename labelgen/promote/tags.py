"""Image-level tags read off scribbles, and a data set whose tags are these."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from labelgen.data.dataset import Dataset, DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import LabelMap
from labelgen.store import MaskFolder, RunFolder
from labelgen.strokes import Stroke
from labelgen.vocab import Vocabulary

__all__ = ["TagChoice", "TaggedByScribbles", "tags_of"]

TagChoice = Literal["visible", "all"]


def tags_of(
    scribbles: LabelMap, strokes: Sequence[Stroke], vocabulary: Vocabulary, *, which: TagChoice = "visible"
) -> frozenset[int] | None:
    """Read the tags of one image off its scribbles.

    Parameters
    ----------
    scribbles
        The scribbles as a label map.
    strokes
        Their geometry; only looked at for `all`.
    which
        visible: classes that were drawn, which is all that an annotator would have given. all: those of strokes that
        were dropped too, as if somebody had named the classes of the image beside drawing.

    Returns
    -------
    frozenset[int]
        Class ids without background; empty where only background was drawn; None where nothing was drawn, so that
        nothing is known.

    References
    ----------
    .. [1] "Scribble Hides Class: Promoting Scribble-Based Weakly-Supervised Semantic Segmentation with Its Class
       Label", AAAI 2024, arXiv 2402.17555: the tags are the classes in the scribble map.

    Examples
    --------
    >>> vocabulary = Vocabulary("toy", ("ground", "cat", "dog"), background=0)
    >>> dropped = Stroke(2, np.array([[0.0, 0.0]]), dropped=True)
    >>> scribbles = np.array([[0, 255, 1]], np.uint8)
    >>> tags_of(scribbles, [dropped], vocabulary), tags_of(scribbles, [dropped], vocabulary, which="all")
    (frozenset({1}), frozenset({1, 2}))
    >>> tags_of(np.array([[255]], np.uint8), [dropped], vocabulary) is None
    True
    """
    named = {int(i) for i in np.unique(scribbles)} - {vocabulary.ignore}
    if which == "all":
        named |= {stroke.class_id for stroke in strokes}
    return frozenset(named - {vocabulary.background}) if named else None


@dataclass(frozen=True)
class TaggedByScribbles:
    """The images of a data set that a run has scribbles of, with the tags that the scribbles tell.

    Parameters
    ----------
    base
        The data set with the images.
    source
        A run of scribbles, or a folder of scribble masks.
    which
        See `tags_of`.
    ids
        The images about which the scribbles say something.

    Raises
    ------
    ConfigError
        When strokes that were dropped are asked for, but the source keeps none.
    """

    base: Dataset
    source: RunFolder | MaskFolder
    which: TagChoice
    ids: tuple[str, ...]

    @staticmethod
    def of(base: Dataset, source: RunFolder | MaskFolder, *, which: TagChoice = "visible") -> "TaggedByScribbles":
        """Find the images about which the scribbles say something; the others would be wrong as negatives.

        Raises
        ------
        ConfigError
            As the class.
        DataError
            When no image is left.
        """
        there = set(source.ids)
        everything = TaggedByScribbles(base, source, which, tuple(i for i in base.ids if i in there))
        ids = tuple(i for i in everything.ids if everything.tags(i) is not None)
        if not ids:
            raise DataError(
                f"{source.path} has no scribble in any of the {len(base.ids)} images of the data",
                hint="are these labels of the same --data and --split?",
            )
        return replace(everything, ids=ids)

    def __post_init__(self) -> None:
        if self.which == "all" and not has_strokes(self.source):
            raise ConfigError(
                f"{self.source.path} keeps no strokes, so those that were dropped are not known",
                hint="tags visible, which are read off the label maps",
            )

    @property
    def spec(self) -> DataSpec:
        """That of the images."""
        return self.base.spec

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the scribbles."""
        return self.source.vocabulary

    @property
    def tags_source(self) -> str:
        """The scribbles."""
        return f"{self.which} scribbles of {self.source.path.as_posix()}"

    def tags(self, sample_id: str) -> frozenset[int] | None:
        """Class ids of one image, background left out; None where nothing is known."""
        return tags_of(
            self.source.labels(sample_id), strokes_of(self.source, sample_id), self.vocabulary, which=self.which
        )

    def load(self, sample_id: str, fields: Set[str]) -> Sample:
        """Load one sample; its tags are those of the scribbles."""
        others = set(fields) - {"tags"}
        if "truth" in fields:
            self.truth(sample_id)
        if "tags" not in fields:
            return self.base.load(sample_id, others)
        tags = self.tags(sample_id)
        if not others:
            return Sample(sample_id, self.source.labels(sample_id).shape, tags=tags)
        return replace(self.base.load(sample_id, others), tags=tags)

    def image(self, sample_id: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decode only the image."""
        return self.base.image(sample_id)

    def truth(self, sample_id: str) -> LabelMap:
        """Refused: nobody who learns from scribbles may look at the truth."""
        raise DataError(f"there is no truth for {sample_id!r} beside the scribbles of {self.source.path}")


def has_strokes(source: RunFolder | MaskFolder) -> bool:
    """Whether a source was made of strokes whose geometry it keeps."""
    return isinstance(source, RunFolder) and any("strokes_sha256" in record for record in source.records().values())


def strokes_of(source: RunFolder | MaskFolder, sample_id: str) -> tuple[Stroke, ...]:
    """The strokes behind one label map; empty without."""
    return (source.strokes(sample_id) or ()) if isinstance(source, RunFolder) else ()
