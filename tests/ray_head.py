"""A Ray head of this machine for tests: begun by the first process of pytest-xdist that wants it, used by all."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock  # torch needs it, so it is there

ROOT = Path(__file__).resolve().parent.parent
COMMAND = ["-m", "ray.scripts.scripts", "start", "--head", "--num-cpus=2", "--num-gpus=0", "--include-dashboard=false"]
COMMAND += ["--object-store-memory=80000000", "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block"]
PATIENCE = 120.0  # seconds for other processes to be done with it


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def ray_head(folder):
    """Its address. Who has begun it waits for the others and stops it, and nothing else."""
    lock, state = FileLock(folder / "ray-head.lock"), folder / "ray-head.json"
    head = None
    with lock:
        if not state.exists():
            about = {"port": free_port(), "users": 0}
            head = _started(about, folder) or _started(about, folder)  # Ray gives up where a machine is very busy
            if head is None:
                pytest.fail("ray start --head did not start twice")
            state.write_text(json.dumps(about))
        about = _count(state, +1)
    try:
        yield f"127.0.0.1:{about['port']}"
    finally:
        with lock:
            _count(state, -1)
        if head is not None:
            _stop(head, lock, state)


def variables(folder):
    """The same for every head, and whatever asks for one: Ray reads a token once in each process, or at home."""
    with FileLock(folder / "ray-token.lock"):
        path = folder / "ray-token"
        if not path.exists():
            path.write_text(secrets.token_hex(16))
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": path.read_text()}


def _started(about, folder):
    environment = {**os.environ, **variables(folder)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment["OMP_NUM_THREADS"] = "1"
    head = subprocess.Popen(
        [sys.executable, *COMMAND, f"--port={about['port']}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=ROOT,
        text=True,
    )
    lines = []
    for line in head.stdout:
        lines.append(line)
        if "Ray runtime started" in line:
            return head
    head.communicate()
    print("".join(lines))
    return None


def _count(state, by):
    about = json.loads(state.read_text())
    about["users"] += by
    state.write_text(json.dumps(about))
    return about


def _stop(head, lock, state):
    until = time.monotonic() + PATIENCE
    while True:
        with lock:
            if json.loads(state.read_text())["users"] == 0 or time.monotonic() > until:
                state.unlink()  # whoever comes now begins another
                break
        time.sleep(0.2)
    head.terminate()  # with --block it takes its processes with it
    head.communicate(timeout=30)
