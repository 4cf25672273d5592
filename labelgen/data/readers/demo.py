"""The built-in scenes: drawn by code when they are asked for, nothing on disk."""

from collections.abc import Set
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

from labelgen.data.dataset import DataSpec
from labelgen.data.disk import check_fields
from labelgen.data.raw_ids import RawIds, raw_ids_of
from labelgen.data.sample import Sample
from labelgen.data.selection import choose_split, select_ids
from labelgen.data.tags import TagSource, open_tags, tags_of_truth
from labelgen.errors import DataError
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary, load_vocabulary

__all__ = ["DemoDataset", "open_demo"]


def open_demo(spec: DataSpec) -> "DemoDataset":
    """Open the demo scenes; truth in ids of `voc`, which another vocabulary may map through its raw ids (`voc20`).

    `spec.root` is the number of scenes, empty for the usual one; the first scenes are the same for every number.
    """
    from labelgen.demo.scenes import SPLITS

    split = choose_split(spec.split, tuple(SPLITS), root="demo")
    spec = replace(spec, split=split)
    vocabulary = load_vocabulary(spec.vocabulary or "voc")
    scenes = int(spec.root) if spec.root else SPLITS[split]
    ids = select_ids((f"{split}_{index:04d}" for index in range(scenes)), spec, splits=tuple(SPLITS))
    tag_source = open_tags(spec.tags, vocabulary)
    return DemoDataset(spec, vocabulary, ids, raw_ids_of(vocabulary), tag_source)


@lru_cache(maxsize=4)  # image and truth of one scene are mostly asked for one after the other
def _scene(split: str, index: int):
    from labelgen.demo.scenes import draw_scene

    return draw_scene(split, index)


@dataclass(frozen=True)
class DemoDataset:
    """A `Dataset` of drawn scenes; ids are `train_0000`, `val_0000`, ...."""

    spec: DataSpec
    vocabulary: Vocabulary
    ids: tuple[str, ...]
    raw_ids: RawIds
    tag_source: TagSource | None = None

    @property
    def tags_source(self) -> str:
        """`truth`, or the path of the file of tags."""
        return self.spec.tags or "truth"

    def image(self, sample_id: str) -> UInt8[np.ndarray, "H W 3"]:
        """The drawn picture."""
        return self._draw(sample_id).image.copy()

    def truth(self, sample_id: str) -> LabelMap:
        """The exact truth; the scenes have no void."""
        return self.raw_ids.apply(self._draw(sample_id).labels.copy(), where=f"demo scene {sample_id}")

    def load(self, sample_id: str, fields: Set[str]) -> Sample:
        """One scene with only `fields`."""
        check_fields(fields)
        scene = self._draw(sample_id)
        height, width = scene.labels.shape
        truth = "truth" in fields
        return Sample(
            sample_id,
            (height, width),
            image=self.image(sample_id) if "image" in fields else None,
            truth=self.truth(sample_id) if truth else None,
            instances=scene.instances.astype(np.int32) if truth else None,
            tags=self._tags(sample_id) if "tags" in fields else None,
        )

    def _tags(self, sample_id: str) -> frozenset[int]:
        if self.tag_source is not None:
            return self.tag_source.tags(sample_id)
        return tags_of_truth(self.truth(sample_id), self.vocabulary)

    def _draw(self, sample_id: str):
        split, _, number = sample_id.rpartition("_")
        if split != self.spec.split or not number.isdecimal():
            raise DataError(f"no demo scene {sample_id!r}", hint=f"ids look like {self.ids[0]}")
        return _scene(split, int(number))
