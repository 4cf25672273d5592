"""Share chunks out among actors, replace those that die, and hand back results."""

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelgen.cluster.session import connected, gpu_share
from labelgen.cluster.witness import Witness
from labelgen.cluster.worker import Facts, Worker, facts_here
from labelgen.engine import Engine
from labelgen.errors import ConfigError, LabelgenError
from labelgen.threads import THREAD_VARIABLES

__all__ = ["Work", "work_through"]

log = logging.getLogger(__name__)

DEATHS = 3  # of actors, one after the other, over one chunk that does not get shorter
AHEAD = 2  # chunks that an actor has, so that it need not wait for the next
LEAD = 8  # chunks per actor that may be begun beyond the first unfinished one: what `in_order` holds back
PASSED_ON = ("LABELGEN_CACHE", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TORCH_HOME")  # where weights are


def _nothing_done(chunk: Any) -> tuple[list[Any], Any]:
    return [], chunk


@dataclass(frozen=True)
class Work:
    """What actors do.

    Parameters
    ----------
    build
        Makes, once per actor, the function that yields the results of a chunk; must survive pickling.
    witness
        A file that all actors must see.
    distributions
        Those whose versions change results.
    packages
        Packages of ours whose code is used.
    on_gpu
        Whether networks compute on CUDA.
    left
        Of the chunk of an actor that died: results that are safe, and what is left of the chunk.
    name
        What an error calls a chunk.
    """

    build: Callable[[], Callable[[Any], Iterable[Any]]]
    witness: Witness
    distributions: Sequence[str] = ()
    packages: Sequence[str] = ("labelgen",)
    on_gpu: bool = False
    left: Callable[[Any], tuple[list[Any], Any]] = _nothing_done
    name: Callable[[Any], str] = repr


def work_through(
    work: Work, chunks: Sequence[Any], engine: Engine, *, workers: int, in_order: bool = False
) -> Iterator[list[Any]]:
    """Yield the results of each chunk as it is finished; chunks are begun in their order.

    Leaving the generator early kills the actors.

    Parameters
    ----------
    in_order
        Yield them in the order of the chunks instead.

    Raises
    ------
    ConfigError
        When there is no Ray, no cluster or no GPU, or an actor does not see our files or has other versions.
    LabelgenError
        When actors keep dying; or whatever the work raises.
    RuntimeError
        For a bug in the work.
    """
    if not chunks:
        return
    with connected(engine, workers) as ray:
        workers = min(workers, len(chunks))
        share = gpu_share(ray, engine, workers=workers, on_gpu=work.on_gpu)
        crew = _Crew(ray, work, chunks, workers=workers, gpus=share, lead=LEAD * workers if in_order else len(chunks))
        try:
            yield from _sorted(crew.results()) if in_order else (results for _, results in crew.results())
        finally:
            crew.dismiss()
            work.witness.remove()


def _sorted(finished: Iterator[tuple[int, list[Any]]]) -> Iterator[list[Any]]:
    held: dict[int, list[Any]] = {}
    following = 0
    for number, results in finished:
        held[number] = results
        while following in held:
            yield held.pop(following)
            following += 1


@dataclass
class _Errand:
    """A chunk on its way: what is left of it, what is done of it, and how many actors died over it."""

    number: int
    chunk: Any
    done: list[Any] = field(default_factory=list)
    deaths: int = 0


@dataclass(eq=False)
class _Member:
    """An actor, the calls that it has not answered, and the chunks behind them (None: greeting and preparing)."""

    actor: Any
    calls: deque[tuple[Any, _Errand | None]] = field(default_factory=deque)
    is_ready: bool = False
    is_doubted: bool = False

    @property
    def errands(self) -> list[_Errand]:
        return [errand for _, errand in self.calls if errand is not None]


class _Crew:
    def __init__(self, ray: Any, work: Work, chunks: Sequence[Any], *, workers: int, gpus: float, lead: int) -> None:
        self.ray, self.work, self.workers, self.lead = ray, work, workers, lead
        self.waiting = deque(_Errand(number, chunk) for number, chunk in enumerate(chunks))
        self.unfinished = set(range(len(chunks)))
        self.first = 0  # the first unfinished chunk
        self.members: list[_Member] = []
        self.false_starts = 0
        self.here = facts_here(work.distributions, work.packages)
        self.build = ray.put(work.build)
        self.kind = ray.remote(Worker).options(
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _variables(gpus)},
        )
        self._say_if_crowded(gpus)

    def results(self) -> Iterator[tuple[int, list[Any]]]:
        """The number and the results of each chunk that is finished."""
        while self.unfinished:
            self._hire()
            self._hand_out()
            calls = {call: member for member in self.members for call, _ in member.calls}
            [call, *_], _ = self.ray.wait(list(calls), num_returns=1)
            yield from self._take(calls[call])

    def dismiss(self) -> None:
        """Kill all actors; what they had written is whole."""
        for member in self.members:
            self._kill(member)
        self.members = []

    def _hire(self) -> None:
        wanted = min(self.workers, len(self.waiting) + sum(1 for member in self.members if member.errands))
        if len(self.members) < max(1, wanted):
            self.work.witness.renew()
        while len(self.members) < max(1, wanted):
            member = _Member(self.kind.remote())
            self._greet(member)
            self.members.append(member)

    def _greet(self, member: _Member) -> None:
        work = self.work
        call = member.actor.hello.remote(str(Path.cwd()), work.witness, tuple(work.distributions), tuple(work.packages))
        member.calls.append((call, None))

    def _hand_out(self) -> None:
        """Give chunks to actors that are ready, first to those with fewest."""
        for count in range(AHEAD):
            for member in self.members:
                if member.is_ready and len(member.calls) == count and self.waiting:
                    if self.waiting[0].number >= self.first + self.lead:
                        return
                    errand = self.waiting.popleft()
                    member.calls.append((member.actor.work.remote(errand.chunk), errand))

    def _take(self, member: _Member) -> Iterator[tuple[int, list[Any]]]:
        """Take the oldest answer of an actor, or bury it."""
        call, errand = member.calls[0]
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(call)
        except errors.RayTaskError as error:  # the worker could not even understand the call
            raise self._strange(error) from error
        except errors.RayError as error:
            if getattr(error, "actor_init_failed", False):  # our actor does nothing there that can fail but be imported
                raise self._strange(error) from error
            yield from self._bury(member, error)
            return
        member.calls.popleft()
        if isinstance(answer, Facts):
            self._welcome(member, answer)
            return
        results, error = answer
        if error is not None:
            raise error
        if errand is None:
            member.is_ready = True
            self.false_starts = 0
        else:
            yield self._finished(errand, results)

    def _finished(self, errand: _Errand, results: list[Any]) -> tuple[int, list[Any]]:
        self.unfinished.discard(errand.number)
        while self.first not in self.unfinished and self.unfinished:
            self.first += 1
        return errand.number, [*errand.done, *results]

    def _welcome(self, member: _Member, facts: Facts) -> None:
        """Refuse an actor that would not do the same work, else let it prepare."""
        if not facts.folder:
            raise ConfigError(
                f"worker on {facts.host} has no folder {Path.cwd()}, in which this command was given",
                hint="all machines must see the same files under the same paths: go to a shared folder",
            )
        if not facts.witness:
            if not member.is_doubted:  # another process may have completed the run and swept the file away
                member.is_doubted = True
                if not self.work.witness.path.is_file():
                    self.work.witness.renew()
                self._greet(member)
                return
            raise ConfigError(
                f"worker on {facts.host} does not see {self.work.witness.path.parent} as this machine does",
                hint="labels, images and --out must lie on a file system that all machines share",
            )
        theirs, ours = facts.versions, self.here.versions
        other = [
            f"{name} {theirs.get(name, 'absent')} there, {ours[name]} here"
            for name in ours
            if ours[name] != theirs.get(name)
        ]
        if other:
            raise ConfigError(
                f"worker on {facts.host} has other versions: {'; '.join(other)}",
                hint="install the same versions on all machines; labels would depend on who makes them",
            )
        member.calls.append((member.actor.prepare.remote(self.build), None))

    def _bury(self, member: _Member, error: Exception) -> Iterator[tuple[int, list[Any]]]:
        """Take the chunks of a dead actor back; the first one was in its hands."""
        self._kill(member)
        self.members.remove(member)
        log.warning("a Ray worker died (%s); a fresh one takes over", _first_line(error))
        blamed, *others = member.errands or [None]
        self.waiting.extendleft(reversed([errand for errand in others if errand is not None]))
        if blamed is None:
            self.false_starts += 1
            if self.false_starts >= DEATHS:
                raise LabelgenError(
                    f"{DEATHS} Ray workers died before they had begun: {_first_line(error)}",
                    hint="out of memory? Use fewer --workers; the logs are below /tmp/ray/session_latest/logs",
                ) from error
            return
        done, chunk = self.work.left(blamed.chunk)
        blamed.deaths = 1 if done else blamed.deaths + 1
        blamed.done += done
        blamed.chunk = chunk
        if not len(chunk):
            yield self._finished(blamed, [])
        elif blamed.deaths >= DEATHS:
            raise LabelgenError(
                f"{DEATHS} Ray workers died one after the other over {self.work.name(chunk)} ({_first_line(error)}); "
                "what is finished is kept",
                hint="out of memory? Use fewer --workers, or leave the image out; the same command again goes on",
            ) from error
        else:
            self.waiting.appendleft(blamed)

    def _kill(self, member: _Member) -> None:
        with contextlib.suppress(Exception):  # dead already, or the cluster is
            self.ray.kill(member.actor, no_restart=True)

    def _strange(self, error: Exception) -> LabelgenError:
        return ConfigError(
            f"the workers of the Ray cluster cannot run this version of labelgen: {_last_line(error)}",
            hint="install the same labelgen on all machines, in the environment that `ray start` was given in",
        )

    def _say_if_crowded(self, gpus: float) -> None:
        found = self.ray.cluster_resources()
        for what, each in (("CPU", 1.0), ("GPU", gpus)):
            if self.workers * each > found.get(what, 0) + 1e-6:
                log.warning(
                    "%d workers want %g %ss, and the Ray cluster has %g: some wait until it grows",
                    *(self.workers, self.workers * each, what, found.get(what, 0)),
                )


def _variables(gpus: float) -> dict[str, str]:
    """What the environment of an actor says beside that of its machine."""
    found = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    found |= dict.fromkeys(THREAD_VARIABLES, "1")
    return found if gpus else found | {"CUDA_VISIBLE_DEVICES": ""}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
