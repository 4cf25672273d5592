"""One process that forks commands, for all tests here."""

import os

import pytest
from crash.harness import Zygote


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("commands are forked from a process that has imported everything, and there is no fork here")
    found = Zygote(tmp_path_factory.mktemp("zygote"))
    yield found
    found.close()
