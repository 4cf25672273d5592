"""Connect to a Ray cluster that is there, or start one on this machine for as long as it is needed."""

import contextlib
import importlib
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labelgen.engine import Engine
from labelgen.errors import ConfigError

__all__ = ["connected", "cpus_of", "gpu_share", "import_ray"]

log = logging.getLogger(__name__)
notice = logging.getLogger("labelgen.notice")

PATIENCE = 5.0  # seconds in which a cluster must answer
HOW_TO_CONNECT = (
    "ray start --head begins one, ray status shows it; one with a token wants RAY_AUTH_MODE=token and the token here; "
    "--ray-address local needs none of that"
)
OBJECT_STORE = 100_000_000  # bytes; ids and records pass through it, no pixels. Ray wants 75 MiB at least


def import_ray() -> Any:
    """The ray module.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            f"--engine ray needs Ray, which is not installed ({error})", hint="pip install 'labelgen[ray]'"
        ) from error


@contextlib.contextmanager
def connected(engine: Engine, workers: int) -> Iterator[Any]:
    """The ray module, connected; a program that is connected already stays so.

    Parameters
    ----------
    workers
        CPUs of a cluster that is started here.

    Raises
    ------
    ConfigError
        When Ray is not installed, or no cluster answers at the address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    with _own_signals():
        where = _connect(ray, engine.address or os.environ.get("RAY_ADDRESS", ""), workers)
    try:
        found = ray.cluster_resources()
        notice.info("ray: %s, %d CPUs, %d GPUs", where, found.get("CPU", 0), found.get("GPU", 0))
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str, workers: int) -> str:
    """Connect, or start; say to what."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address in ("", "local"):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells nobody that it exists
        ray.init(address="local", num_cpus=workers, include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
        return "a cluster of this machine, for this command"
    where = _current_cluster() if address == "auto" else address
    if not _answers(where):  # Ray itself goes on trying for many minutes
        raise ConfigError(f"no Ray cluster answers at {where or address}", hint=HOW_TO_CONNECT)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"cannot connect to the Ray cluster at {where}: {first}", hint=HOW_TO_CONNECT) from error
    return f"the cluster at {where}"


def _current_cluster() -> str:
    """Address of the cluster that this machine is part of, where `ray start` leaves it; empty when there is none."""
    own = os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else "")
    root = Path(own or ("/tmp" if os.name == "posix" else tempfile.gettempdir()))
    try:
        return (root / "ray" / "ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _answers(address: str) -> bool:
    """Whether anybody listens at `host:port`, as in `10.0.0.1:6379` or `ray://10.0.0.1:10001`."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return False
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE):
            return True
    except (OSError, OverflowError):
        return False


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray installs one of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def cpus_of(ray: Any) -> int:
    """CPUs of the cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 0)))


def gpu_share(ray: Any, engine: Engine, *, workers: int, on_gpu: bool) -> float:
    """GPUs that each worker asks for, such that all workers find a place.

    Parameters
    ----------
    on_gpu
        Whether the networks compute on CUDA.

    Raises
    ------
    ConfigError
        When they do and the cluster has no GPU.
    """
    if engine.gpus is not None:
        return engine.gpus
    if not on_gpu:
        return 0.0
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus < 1:
        raise ConfigError(
            "the networks compute on CUDA, but the Ray cluster has no GPU",
            hint="--device cpu, or ray start --num-gpus N on machines that have them",
        )
    return 1 / math.ceil(workers / gpus)
