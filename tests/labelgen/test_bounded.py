"""Nothing grows with the number of images but the records: queues are bounded, a slow writer makes the reader wait."""

import gc
import importlib.util
import sys
import threading
import time
import tracemalloc
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from labelgen import pool
from labelgen.data.sample import Sample
from labelgen.masks import SoftMask, one_hot
from labelgen.pipeline import AHEAD, Task, label_images
from labelgen.run import RunOptions, run_job
from labelgen.store import RunWriter, prepare_run
from labelgen.store.header import make_header

spec = importlib.util.spec_from_file_location("toy_run", Path(__file__).with_name("toy_run.py"))
toy = sys.modules.get("toy_run") or importlib.util.module_from_spec(spec)
if "toy_run" not in sys.modules:
    sys.modules["toy_run"] = toy  # dataclasses look their module up
    spec.loader.exec_module(toy)

RECORD = 2000  # bytes of an image's record in memory: a dictionary of ten entries, 1200 bytes for a toy
PACKAGE = Path(pool.__file__).parent


class Counted(toy.ToyData):
    loads = 0

    def load(self, sample_id, fields):
        type(self).loads += 1
        return super().load(sample_id, fields)


def settled(count, patience=0.2):
    """The count once it has stopped to change."""
    before = -1
    while count() != before:
        before = count()
        time.sleep(patience)
    return before


def test_a_slow_writer_makes_the_reader_wait(tmp_path):
    data, job = Counted(60), toy.toy_job()
    type(data).loads = 0
    task = Task(data, job, tmp_path, RunOptions())
    header = make_header(data, method="toy", config={}, supervision=[], vocabulary=data.vocabulary, seed=0)
    prepare_run(tmp_path, header, data.ids)
    release, labelled = threading.Event(), []

    def generate(sample, rng):
        labelled.append(sample.id)
        return one_hot(np.ones(sample.size, np.uint8))

    class Stuck(RunWriter):
        def put(self, sample_id, mask):
            assert release.wait(30)
            return super().put(sample_id, mask)

    with Stuck(tmp_path, data.vocabulary) as writer:
        records = []
        runner = threading.Thread(target=lambda: records.extend(label_images(task, generate, data.ids, writer)))
        runner.start()
        try:
            assert settled(lambda: data.loads) <= 2 * AHEAD + 1
            assert len(labelled) == AHEAD + 1
        finally:
            release.set()
            runner.join()
    assert len(records) == data.loads == 60


def test_errands_of_workers_wait_for_whoever_takes_their_records(tmp_path, monkeypatch):
    submitted = []

    class Instant:
        def __init__(self, workers, **_):
            assert workers == 2

        def submit(self, call, chunk):
            submitted.append(chunk)
            future = Future()
            future.set_result([{"id": sample_id} for sample_id in chunk])
            return future

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(pool, "ProcessPoolExecutor", Instant)
    task = Task(toy.ToyData(1), toy.toy_job(), tmp_path, RunOptions(workers=2))
    ids = [f"a/{number}" for number in range(32 * 40)]
    records = pool.label_in_processes(task, ids)
    assert next(records)["id"] in ids
    assert len(submitted) == 2 * 2 and max(map(len, submitted)) <= pool.LARGEST_CHUNK
    assert len(list(records)) == len(ids) - 1 and len(submitted) == 40


@pytest.mark.slow
def test_a_long_run_keeps_records_and_nothing_else(tmp_path):
    """Futures, samples and masks that were kept would be found among all objects; what else is kept, by its bytes."""
    alive, traced = [], []

    def look(done, total, note):
        if done % 60 == 0:
            gc.collect()
            objects = gc.get_objects()
            alive.append(sum(type(each) in (Sample, SoftMask, Future) for each in objects))
            del objects
            found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"{PACKAGE}/*")])
            traced.append((done, sum(trace.size for trace in found.traces)))

    tracemalloc.start()
    try:
        run_job(toy.ToyData(300), toy.toy_job(), tmp_path / "run", progress=look)
    finally:
        tracemalloc.stop()
    assert max(alive) <= 8 * (AHEAD + 1)  # each image on its way is a sample, a mask and two futures
    done, memory = np.array(traced[1:], float).T
    assert np.polyfit(done, memory, 1)[0] < RECORD


@pytest.mark.slow
def test_an_image_in_memory_for_ever_would_be_noticed(tmp_path):
    kept, alive = [], []

    def make():
        def generate(sample, rng):
            kept.append(sample)
            return one_hot(np.ones(sample.size, np.uint8))

        return generate

    def look(done, total, note):
        if done == 100:
            alive.append(sum(type(each) is Sample for each in gc.get_objects()))

    run_job(toy.ToyData(100), toy.toy_job(make), tmp_path / "run", progress=look)
    assert alive[0] > 8 * (AHEAD + 1)
