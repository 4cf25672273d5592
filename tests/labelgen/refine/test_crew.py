import multiprocessing
import threading

import pytest

from labelgen.errors import ConfigError
from labelgen.refine.crew import Crew, threads_to_use


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_piece_is_done_once_and_ranges_cover_all(threads):
    done, covered = [], []
    with Crew(threads) as crew:
        crew.run([lambda piece=piece: done.append(piece) for piece in range(17)])
        crew.run_ranges(lambda first, last: covered.extend(range(first, last)), 103, smallest=10)
        crew.run([])
    assert sorted(done) == list(range(17)) and sorted(covered) == list(range(103))


def test_threads_work_at_the_same_time():
    both_here = threading.Barrier(2, timeout=10)
    with Crew(2) as crew:
        crew.run([both_here.wait, both_here.wait])


@pytest.mark.parametrize("threads", [1, 3])
def test_the_error_of_a_piece_comes_through(threads):
    def fail():
        raise ZeroDivisionError

    with Crew(threads) as crew, pytest.raises(ZeroDivisionError):
        crew.run([fail] * 6)


def test_all_cores_unless_this_is_a_worker_process(monkeypatch):
    assert threads_to_use(3) == 3 and threads_to_use(0) >= 1
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    assert threads_to_use(0) == 1 and threads_to_use(3) == 3
    with pytest.raises(ConfigError, match="threads must be >= 0, got -2"):
        Crew(-2)
