"""One image with whatever is known about it, and what a method may see of it."""

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from labelgen.errors import DataError, ShapeError
from labelgen.masks import LabelMap, SoftMask
from labelgen.strokes import Stroke

__all__ = ["SUPERVISION", "Generate", "Likely", "Refine", "Sample"]

SUPERVISION = frozenset({"truth", "tags", "saliency", "strokes"})
"""The kinds of supervision that a method may declare in `Method.needs`. Instances come with `truth`."""


@dataclass(frozen=True)
class Sample:
    """One image and the supervision that was loaded with it; what was not asked for is None.

    Parameters
    ----------
    id
        Name of the image in its data set; may contain `/`.
    size
        `(H, W)` in pixels.
    image
        `(H, W, 3)` uint8 RGB.
    truth
        Ground-truth label map; 255 is void.
    instances
        `(H, W)` int32, 0 = no instance; comes with `truth` where the data set has it.
    tags
        Class ids known to be in the image, background left out.
    strokes
        Human scribbles or clicks.
    saliency
        `(H, W)` float32 in [0, 1].
    """

    id: str
    size: tuple[int, int]
    image: UInt8[np.ndarray, "H W 3"] | None = None
    truth: LabelMap | None = None
    instances: Int32[np.ndarray, "H W"] | None = None
    tags: frozenset[int] | None = None
    strokes: tuple[Stroke, ...] | None = None
    saliency: Float32[np.ndarray, "H W"] | None = None

    def __post_init__(self) -> None:
        for name in ("image", "truth", "instances", "saliency"):
            array = getattr(self, name)
            if array is not None and array.shape[:2] != self.size:
                raise ShapeError(
                    f"{name} must have the size {self.size} of the sample, got {array.shape[:2]} in {self.id}",
                    hint="nothing is resized silently; make the files agree",
                )

    def only(self, needs: Set[str]) -> "Sample":
        """Blank all supervision but `needs`; id, size and image stay.

        Examples
        --------
        >>> sample = Sample("a", (1, 1), truth=np.zeros((1, 1), np.uint8), tags=frozenset({3}))
        >>> sample.only({"tags"}).truth is None
        True
        """
        hidden = dict.fromkeys(SUPERVISION - set(needs))
        if "truth" in hidden:
            hidden["instances"] = None
        return replace(self, **hidden)

    def need_image(self) -> UInt8[np.ndarray, "H W 3"]:
        """The image, or a DataError that says it was not there."""
        if self.image is None:
            raise DataError(
                f"this method needs the image of {self.id}, but there is none", hint="is it in the data set?"
            )
        return self.image

    def need_truth(self) -> LabelMap:
        """The ground truth, or a DataError that says it was not there."""
        if self.truth is None:
            raise DataError(f"this method needs ground truth, but {self.id} has none")
        return self.truth

    def need_tags(self) -> frozenset[int]:
        """The image-level tags, or a DataError that says they were not there."""
        if self.tags is None:
            raise DataError(
                f"this method needs image-level tags, but {self.id} has none", hint="give a file with --tags"
            )
        return self.tags


Generate = Callable[[Sample, np.random.Generator], SoftMask]
"""A method after `make`: one sample in, class scores out; all randomness from the generator."""

Likely = Callable[[Sample, np.random.Generator, int], SoftMask]
"""Scores, before any rule makes labels of them, of so many classes: those that are the likeliest somewhere."""

Refine = Callable[[Sample, SoftMask], SoftMask]
"""A refiner after its `make`: a sample without supervision (id, image) and scores in, repaired scores out."""
