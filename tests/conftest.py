"""Shared fixtures: no network, the folder of real data, toy samples."""

import atexit
import gc
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from array_types import check_first_calls

check_first_calls()  # before anything of the packages is imported

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure():
    """Processes of pytest-xdist share the cores: one thread each, for the programs that tests start as well."""
    gc.disable()  # until all is collected: millions of objects are made, and nearly all of them stay
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_collection_finish():
    """What has been imported stays, and is not looked at again by every collection of garbage."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # libraries complain of what is left when the process ends


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path_factory):
    """Refuse every connection except to this machine, so that no test downloads anything; keep out of your cache."""
    connect = socket.socket.connect

    def guarded(self, address):
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests must not use the network, got a connection to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LABELGEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and masks: $LABELGEN_SHARED_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("LABELGEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set LABELGEN_SHARED_DATA")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(0)
