"""Worker processes that begin at once: forked from a server that has imported what this process has."""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.context import BaseContext

from labelgen.threads import THREAD_VARIABLES

__all__ = ["take_environment", "worker_context"]

OURS = ("labelgen", "segprobe")
HEAVY = ("numpy", "scipy", "cv2", "PIL", "numba", "torch", "torchvision", "timm", "open_clip")  # seconds to import


@contextlib.contextmanager
def worker_context() -> Iterator[tuple[BaseContext, Mapping[str, str]]]:
    """Yield how processes are to be started within, and the environment they are to take.

    Forks share what their server has imported, in time and in memory; the server is a process of its own without
    threads or devices, which ends with this one. Where forks are not safe, each process is started anew. Libraries use
    one thread each: there is one process per core.
    """
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    forks = sys.platform.startswith("linux")
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(_imported())
    with _environment(environment | ({"PYTHONPATH": os.pathsep.join(sys.path)} if forks else {})):
        yield context, environment


def take_environment(environment: Mapping[str, str]) -> None:
    """Let a process that was forked have the environment of its parent, which may have changed since the fork."""
    _set({name: environment.get(name) for name in {*os.environ, *environment}})


def _imported() -> list[str]:
    """What of the packages this process has imported and takes long."""
    return sorted(name for name in sys.modules if name in HEAVY or name.partition(".")[0] in OURS)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if os.environ.get(name) != value:
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
