"""What the runner is asked to do, with which options, and what it reports."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.sample import SUPERVISION, Generate, Likely
from labelgen.engine import LOCAL, Engine
from labelgen.errors import ConfigError
from labelgen.vocab import Vocabulary

__all__ = ["Job", "RunOptions", "RunReport", "config_to_json", "rng_for"]


@dataclass(frozen=True)
class Job:
    """What to do with each image. Picklable, so that worker processes can do it too.

    Parameters
    ----------
    method
        Name of the method, for run.json.
    config
        Its settings as plain JSON values, for run.json.
    make
        Builds the `Generate` function once per process; must survive pickling.
    needs
        Supervision that the method may see; all else is blanked.
    reads_image
        False spares the decoding of images.
    vocabulary
        The classes of the labels.
    models
        Name of each network to facts about it, its sha256 among them, for run.json.
    facts
        What else the method settled before the first image, as JSON values, for run.json.
    likely
        Builds the function that gives scores of likely classes before any rule, where the method has one.
    inherited
        Supervision behind what the method starts from, such as the run that it refines; recorded beside `needs`.
    """

    method: str
    config: Mapping[str, Any]
    make: Callable[[], Generate]
    needs: frozenset[str]
    reads_image: bool
    vocabulary: Vocabulary
    models: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    likely: Callable[[], Likely] | None = None
    inherited: frozenset[str] = frozenset()

    @property
    def supervision(self) -> frozenset[str]:
        """All supervision behind the labels."""
        return self.needs | self.inherited

    def __post_init__(self) -> None:
        unknown = sorted(self.needs - SUPERVISION)
        if unknown:
            raise ConfigError(f"needs must be out of {', '.join(sorted(SUPERVISION))}, got {unknown[0]!r}")


@dataclass(frozen=True)
class RunOptions:
    """How a run is made.

    Parameters
    ----------
    seed
        Seed of all randomness, >= 0.
    workers
        Processes, or actors. Changes nothing but the time.
    shard
        `(i, n)`: label only the i-th of n parts of the data set, 1 <= i <= n. Whoever finishes last completes the run.
    overwrite
        Replace a run that is already there.
    save_scores
        Keep the scores beside the labels.
    strict
        Stop at the first image that cannot be labelled.
    min_score
        A pixel whose best score does not exceed it stays unlabelled.
    engine
        Where the workers are: processes of this machine, or actors of a Ray cluster.
    """

    seed: int = 0
    workers: int = 1
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    save_scores: bool = False
    strict: bool = False
    min_score: float = 0.0
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        part, parts = self.shard
        if self.seed < 0:
            raise ConfigError(f"seed must be >= 0, got {self.seed}")
        if self.workers < 1:
            raise ConfigError(f"workers must be >= 1, got {self.workers}", hint="1 labels in this process")
        if not 1 <= part <= parts:
            raise ConfigError(f"shard i/n must have 1 <= i <= n, got {part}/{parts}", hint="1/3, 2/3 and 3/3")
        if not 0 <= self.min_score < float("inf"):
            raise ConfigError(f"min_score must be finite and >= 0, got {self.min_score}")
        if self.overwrite and parts > 1:
            raise ConfigError(
                "overwrite cannot go with a shard, which would wipe what the other shards made",
                hint="remove the folder before the first shard starts",
            )


@dataclass(frozen=True)
class RunReport:
    """What `run_job` did.

    Parameters
    ----------
    done
        Images labelled by this call.
    skipped
        Images that were labelled before.
    failed
        Images that could not be labelled; failures.jsonl says why.
    complete
        Whether the whole run, of all shards, is complete.
    coverage
        Share of labelled pixels over the images of this shard.
    out
        The run folder.
    counts
        More totals over the images of this shard; see `labelgen.store.records.summarise`.
    first_failure
        id, error and hint of the first image that could not be labelled, if any.
    first_warning
        The first warning, behind the id of its image; empty without any.
    """

    done: int
    skipped: int
    failed: int
    complete: bool
    coverage: float
    out: Path
    counts: Mapping[str, Any] = field(default_factory=dict)
    first_failure: Mapping[str, Any] | None = None
    first_warning: str = ""


def rng_for(seed: int, sample_id: str) -> np.random.Generator:
    """The generator of one image; independent of all other images.

    Examples
    --------
    >>> int(rng_for(0, "a").integers(1000)) == int(rng_for(0, "a").integers(1000))
    True
    >>> int(rng_for(0, "a").integers(10**9)) == int(rng_for(0, "b").integers(10**9))
    False
    """
    digest = hashlib.sha256(f"{seed}\0{sample_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, "<u4"))


def config_to_json(config: Any) -> dict[str, Any]:
    """The settings of a method, a dataclass, as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False, default=_plain))


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"settings must be plain JSON values, got {type(value).__name__}")
