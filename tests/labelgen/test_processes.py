"""Workers begin with what their parent has imported, and with its environment of the moment."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor

from labelgen.processes import take_environment, worker_context
from labelgen.threads import THREAD_VARIABLES


def test_workers_have_the_environment_of_their_parent_and_one_thread_per_library(monkeypatch):
    before = dict(os.environ)
    for word in ("one", "another"):
        monkeypatch.setenv("LABELGEN_TEST", word)
        with (
            worker_context() as (context, environment),
            ProcessPoolExecutor(1, mp_context=context, initializer=take_environment, initargs=(environment,)) as pool,
        ):
            assert pool.submit(os.getenv, "LABELGEN_TEST").result() == word
            assert {pool.submit(os.getenv, name).result() for name in THREAD_VARIABLES} == {"1"}
            assert pool.submit(os.getenv, "PYTHONPATH").result() == before.get("PYTHONPATH")
    monkeypatch.delenv("LABELGEN_TEST")
    assert dict(os.environ) == before


def test_packages_are_those_of_the_parent():
    import labelgen

    with worker_context() as (context, _), ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(_folder_of_labelgen).result() == labelgen.__path__[0]


def test_variables_that_are_gone_go(monkeypatch):
    monkeypatch.setenv("LABELGEN_TEST", "here")
    here = dict(os.environ)
    here.pop("LABELGEN_TEST")
    take_environment(here)
    assert "LABELGEN_TEST" not in os.environ


def _folder_of_labelgen() -> str:
    return sys.modules["labelgen"].__path__[0]
