"""Score images by actors of a Ray cluster, with results in the order of ids."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from labelgen.cluster import Witness, Work, connected, work_through
from labelgen.cluster.session import cpus_of
from labelgen.engine import Engine
from labelgen.store import LabelSource
from labelgen.store.header import PACKAGES
from labelgen.store.layout import HEADER

__all__ = ["score_on_ray"]

T = TypeVar("T")

CHUNK_BYTES = 4_000_000  # of the sums of a chunk, which all travel
LARGEST_CHUNK = 64  # images


def score_on_ray(
    score: Callable[[str], T],
    ids: Sequence[str],
    engine: Engine,
    *,
    workers: int,
    source: LabelSource,
    image_bytes: int,
) -> Iterator[T]:
    """Yield what `score` says of each image, in order.

    Parameters
    ----------
    score
        What to do with one image; must survive pickling.
    workers
        Actors; 0 for one per CPU of the cluster.
    source
        The labels: all machines must see them.
    image_bytes
        About how much the result of one image takes.

    Raises
    ------
    ConfigError
        When there is no Ray or no cluster, or its machines do not see the labels or have other versions.
    LabelgenError
        When actors keep dying.
    """
    is_run = (source.path / HEADER).is_file()
    witness = Witness.of(source.path / HEADER if is_run else _first_file(source))
    work = Work(build=_Scorer(score), witness=witness, distributions=PACKAGES, name=_name)
    with connected(engine, workers or os.cpu_count() or 1) as ray:
        count = workers or cpus_of(ray)
        most = max(1, min(LARGEST_CHUNK, CHUNK_BYTES // max(1, image_bytes)))
        size = max(1, min(most, len(ids) // (4 * count)))
        chunks = [ids[start : start + size] for start in range(0, len(ids), size)]
        for outcomes in work_through(work, chunks, engine, workers=count, in_order=True):
            yield from outcomes


@dataclass(frozen=True)
class _Scorer:
    """Makes the function of an actor: all images of a chunk, one after the other."""

    score: Callable[[str], Any]

    def __call__(self) -> Callable[[Sequence[str]], Iterable[Any]]:
        return partial(map, self.score)


def _first_file(source: LabelSource) -> Any:
    """One of the masks of a plain folder."""
    return source.label_file(source.ids[0])  # type: ignore[attr-defined]


def _name(ids: Sequence[str]) -> str:
    return f"images {ids[0]!r} to {ids[-1]!r}"
