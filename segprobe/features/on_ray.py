"""Compute the shards of a cache by actors of a Ray cluster, each with a backbone of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from labelgen.cluster import Token, Work, work_through
from labelgen.engine import Engine
from labelgen.errors import ConfigError
from labelgen.nets.backbones import Backbone, load_backbone
from labelgen.store.header import MODEL_PACKAGES, PACKAGES
from segprobe.features.shard import ShardJob
from segprobe.features.sources import Network

__all__ = ["Crew", "crew_of"]


@dataclass(frozen=True)
class Crew:
    """Actors that write shards.

    Parameters
    ----------
    engine
        Of the cluster.
    workers
        How many.
    """

    engine: Engine
    workers: int

    def arithmetic(self, backbone: Network) -> dict[str, Any]:
        """What the last bits of a token depend on: device, and threads of an actor."""
        return {"device": self._device(backbone), "threads": 1}

    def write(
        self, job: ShardJob, numbers: Sequence[int], backbone: Network, *, on_images: Callable[[int], None]
    ) -> None:
        """Write these shards.

        Parameters
        ----------
        backbone
            The one that `load_backbone` gave: actors load it again from its settings.
        on_images
            Called with the number of images of each shard that is finished.

        Raises
        ------
        ConfigError
            When there is no Ray or no cluster, or its machines do not see the same files or have other versions.
        LabelgenError
            When actors keep dying.
        """
        if not isinstance(backbone, Backbone):
            raise TypeError(f"actors can load a Backbone again, got {type(backbone).__name__}")
        job = replace(job, folder=job.folder.resolve())
        device = self._device(backbone)
        work = Work(
            build=partial(_Writer, job, partial(load_backbone, backbone.config, device=device), backbone.fingerprint()),
            witness=Token.into(job.folder),
            distributions=(*PACKAGES, *MODEL_PACKAGES),
            packages=("labelgen", "segprobe"),
            on_gpu=device == "cuda",
            name=_name,
        )
        chunks = [[number] for number in numbers]
        for written in work_through(work, chunks, self.engine, workers=self.workers):
            for number in written:
                on_images(len(job.parts[number]))

    def _device(self, backbone: Network) -> str:
        """Ray shows each actor its own GPU, as `cuda`."""
        return "cuda" if self.engine.gpus else backbone.device.type


class _Writer:
    """The backbone of one actor."""

    def __init__(self, job: ShardJob, load: Callable[[], Backbone], fingerprint: dict[str, Any]) -> None:
        self.job = job
        self.backbone = load()
        if self.backbone.fingerprint() != fingerprint:
            raise ConfigError(
                f"a worker loaded another network than this process under the name {self.backbone.spec.name}",
                hint="let all machines read the same weights: --weights FILE on the shared file system",
            )

    def __call__(self, numbers: Sequence[int]) -> Iterator[int]:
        for number in numbers:
            self.job.write_unless_done(number, self.backbone)
            yield number


def _name(numbers: Sequence[int]) -> str:
    return f"shard {numbers[0]}"


def crew_of(engine: Engine, workers: int, device: str) -> Crew | None:
    """The actors that flags ask for; None for this process alone.

    Raises
    ------
    ConfigError
        When several workers are asked for without Ray, or Ray for one certain GPU.
    """
    if workers < 1:
        raise ConfigError(f"workers must be >= 1, got {workers}")
    if not engine.is_ray:
        if workers > 1:
            raise ConfigError(
                f"features are computed by one process, got --workers {workers}",
                hint="--engine ray --workers N, or N processes with --shard 1/N and so on",
            )
        return None
    if ":" in device:
        raise ConfigError(f"Ray chooses the GPU of each worker, got --device {device}", hint="--device cuda")
    return Crew(engine, workers)
