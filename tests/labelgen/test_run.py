import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, RunFolderError, WeightsError
from labelgen.masks import SoftMask, one_hot, read_mask
from labelgen.run import RunOptions, method_job, plan_job, rng_for, run_job
from labelgen.store import RunFolder, verify_run

SCRIPT = Path(__file__).with_name("toy_run.py")
spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
toy = importlib.util.module_from_spec(spec)
sys.modules["toy_run"] = toy  # dataclasses look their module up
spec.loader.exec_module(toy)


def contents(folder):
    """Every file of a run folder, hidden ones included, with its bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def start(*args):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory):
    """The run of 24 images, one broken, made by one process in one go."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    report = run_job(toy.ToyData(24, broken=frozenset({"a/04"})), toy.toy_job(), folder, RunOptions(save_scores=True))
    assert (report.done, report.failed, report.complete) == (23, 1, True)
    return contents(folder)


def test_a_run_holds_what_the_method_made(tmp_path):
    report = run_job(toy.ToyData(3), toy.toy_job(), tmp_path / "run", RunOptions(seed=5))
    assert (report.done, report.skipped, report.failed, report.complete) == (3, 0, 0, True)
    assert report.coverage == pytest.approx(1 / 48, abs=1e-6)
    assert report.counts["classes"] == {"0": 1, "1": 1, "2": 1}
    run = RunFolder.open(tmp_path / "run")
    assert run.ids == ("a/00", "a/01", "a/02")
    assert run.header["supervision"] == ["truth"] and run.header["seed"] == 5
    row, col = (int(rng.integers(side)) for rng in [rng_for(5, "a/01")] for side in toy.SIZE)
    expected = np.full(toy.SIZE, 255, np.uint8)
    expected[row, col] = 1
    np.testing.assert_array_equal(read_mask(tmp_path / "run/labels/a/01.png"), expected)
    assert run.records()["a/01"]["details"] == {"row": row}
    assert verify_run(tmp_path / "run") == []


def test_generators_of_images_are_independent_and_stable():
    first = rng_for(0, "a").integers(10**9, size=3)
    assert first.tolist() == rng_for(0, "a").integers(10**9, size=3).tolist()
    assert first.tolist() != rng_for(1, "a").integers(10**9, size=3).tolist()
    assert first.tolist() != rng_for(0, "b").integers(10**9, size=3).tolist()
    assert int(rng_for(7, "2007_000032").integers(2**32)) == 3654116410  # labels of old runs must stay reproducible


def test_the_same_command_again_changes_nothing(tmp_path, reference_run):
    folder = tmp_path / "run"
    data = toy.ToyData(24, broken=frozenset({"a/04"}))
    for _ in range(2):
        report = run_job(data, toy.toy_job(), folder, RunOptions(save_scores=True))
        assert contents(folder) == reference_run
    assert (report.done, report.skipped, report.failed) == (0, 23, 1)


def test_a_failed_image_is_tried_again(tmp_path):
    folder = tmp_path / "run"
    run_job(toy.ToyData(3, broken=frozenset({"a/01"})), toy.toy_job(), folder)
    assert json.loads((folder / "failures.jsonl").read_text()) == {
        "id": "a/01",
        "error": "truncated: a/01",
        "hint": "fetch it again",
    }
    report = run_job(toy.ToyData(3), toy.toy_job(), folder)
    assert (report.done, report.skipped, report.failed) == (1, 2, 0)
    run_job(toy.ToyData(3), toy.toy_job(), tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_lost_label_is_made_again(tmp_path, reference_run):
    folder = tmp_path / "run"
    data = toy.ToyData(24, broken=frozenset({"a/04"}))
    run_job(data, toy.toy_job(), folder, RunOptions(save_scores=True))
    (folder / "labels/a/07.png").unlink()
    assert run_job(data, toy.toy_job(), folder, RunOptions(save_scores=True)).done == 1
    assert contents(folder) == reference_run


@pytest.mark.slow
def test_the_same_bytes_from_two_workers(tmp_path, reference_run):
    assert finish(start(tmp_path / "run", 2, "1/1", 24)) == "23 0 1 True"
    assert contents(tmp_path / "run") == reference_run


@pytest.mark.slow
def test_the_same_bytes_from_three_shards_at_once(tmp_path, reference_run):
    reports = [finish(p) for p in [start(tmp_path / "run", 1, f"{i}/3", 24) for i in (1, 2, 3)]]
    assert sum(int(report.split()[0]) for report in reports) == 23
    assert any(report.endswith("True") for report in reports)
    assert contents(tmp_path / "run") == reference_run


@pytest.mark.slow
def test_two_processes_on_one_folder_do_no_harm(tmp_path, reference_run):
    reports = [finish(p) for p in [start(tmp_path / "run", 1, "1/1", 24, 0.01) for _ in range(2)]]
    assert all(report.endswith("1 True") for report in reports)
    assert contents(tmp_path / "run") == reference_run


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_bytes_after_being_killed(tmp_path, reference_run, workers):
    folder = tmp_path / "run"
    process = start(folder, workers, "1/1", 24, 0.1)
    wait_for(lambda: len(list((folder / "labels/a").glob("*.png"))) >= 4)
    process.kill()
    process.communicate()
    labelled = len(list((folder / "labels/a").glob("*.png")))
    assert labelled < 23 and json.loads((folder / "run.json").read_text())["state"] == "running"
    done, skipped, *_ = map(int, finish(start(folder, workers, "1/1", 24)).split()[:3])
    assert done + skipped == 23 and skipped >= 1
    assert contents(folder) == reference_run


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL of the parent alone")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    folder = tmp_path / "run"
    process = start(folder, 2, "1/1", 96, 0.05)
    wait_for(lambda: len(list((folder / "labels/a").glob("*.png"))) >= 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # returns when the last process that holds the pipe has ended
    time.sleep(0.3)
    count = len(list((folder / "labels/a").glob("*.png")))
    time.sleep(0.3)
    assert len(list((folder / "labels/a").glob("*.png"))) == count < 95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crash", "message"),
    [
        ("raise", "RuntimeError: KeyError while labelling image 'a/03': 'absent'"),
        ("die", "LabelgenError: a worker process died; what it finished is kept"),
    ],
)
def test_a_bug_or_death_of_a_worker_stops_the_run_and_keeps_the_rest(tmp_path, crash, message):
    process = start(tmp_path / "run", 2, "1/1", 24, 0.01, crash)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err.splitlines()[-1] == message
    done, skipped, *_ = map(int, finish(start(tmp_path / "run", 2, "1/1", 24)).split()[:3])
    assert done + skipped == 23
    assert verify_run(tmp_path / "run") == []


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def test_a_method_sees_only_what_it_needs(tmp_path):
    seen = []

    def make():
        def generate(sample, rng):
            seen.append((sample.truth is None, sample.tags is None))
            return one_hot(np.ones(sample.size, np.uint8))

        return generate

    run_job(toy.ToyData(1), toy.toy_job(make, needs=("tags",)), tmp_path / "run")
    assert seen == [(True, False)]


def test_supervision_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"needs must be out of .*, got 'oracle'"):
        toy.toy_job(needs=("oracle",))


def raising(error):
    def make():
        def generate(sample, rng):
            raise error

        return generate

    return make


def test_a_bug_stops_the_run_and_names_the_image(tmp_path):
    with pytest.raises(RuntimeError, match="KeyError while labelling image 'a/00'"):
        run_job(toy.ToyData(2), toy.toy_job(raising(KeyError("x"))), tmp_path / "run")


def test_an_error_that_is_not_about_one_image_stops_the_run(tmp_path):
    with pytest.raises(WeightsError, match="no weights"):
        run_job(toy.ToyData(2), toy.toy_job(raising(WeightsError("no weights"))), tmp_path / "run")


def test_strict_stops_at_the_first_failure_and_keeps_the_rest(tmp_path):
    data = toy.ToyData(6, broken=frozenset({"a/03"}))
    with pytest.raises(DataError, match="truncated: a/03"):
        run_job(data, toy.toy_job(), tmp_path / "run", RunOptions(strict=True))
    assert RunFolder.open(tmp_path / "run").ids == ("a/00", "a/01", "a/02")
    assert run_job(toy.ToyData(6), toy.toy_job(), tmp_path / "run").skipped == 3


def test_a_run_without_any_label_is_an_error(tmp_path):
    def make():
        return lambda sample, rng: SoftMask(np.zeros((0, *sample.size), np.float32), ())

    with pytest.raises(DataError, match="0 of 2 images had any label in"):
        run_job(toy.ToyData(2), toy.toy_job(make), tmp_path / "run")


def test_the_first_warning_is_in_the_report(tmp_path):
    def make():
        def label(sample, rng):
            return SoftMask(np.ones((1, *sample.size), np.float32), (0,), warnings=(f"odd {sample.id}",))

        return label

    report = run_job(toy.ToyData(2), toy.toy_job(make), tmp_path / "run")
    assert report.counts["warnings"] == 2 and report.first_warning == "a/00: odd a/00"
    assert run_job(toy.ToyData(2), toy.toy_job(), tmp_path / "other").first_warning == ""


def test_a_run_in_which_all_images_fail_is_an_error_with_the_reason(tmp_path):
    data = toy.ToyData(2, broken=frozenset({"a/00", "a/01"}))
    with pytest.raises(DataError, match=r"0 of 2 images had any label in .*; the first failure: truncated: a/00"):
        run_job(data, toy.toy_job(), tmp_path / "run")


def test_an_empty_data_set_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(DataError, match="no images"):
        run_job(toy.ToyData(0), toy.toy_job(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_scores_of_another_size_than_the_image_are_a_bug(tmp_path):
    def make():
        return lambda sample, rng: one_hot(np.ones((2, 2), np.uint8))

    with pytest.raises(RuntimeError, match=r"the size \(6, 8\) of the image, got \(2, 2\)"):
        run_job(toy.ToyData(1), toy.toy_job(make), tmp_path / "run")


def test_classes_outside_the_vocabulary_are_a_bug(tmp_path):
    def make():
        return lambda sample, rng: one_hot(np.full(sample.size, 7, np.uint8))

    with pytest.raises(RuntimeError, match=r"writing image 'a/00': class ids must be < 3, got \(7,\)"):
        run_job(toy.ToyData(1), toy.toy_job(make), tmp_path / "run")


def test_details_that_are_no_json_are_a_bug(tmp_path):
    def make():
        return lambda sample, rng: one_hot(np.ones(sample.size, np.uint8), details={"when": object()})

    with pytest.raises(RuntimeError, match="details must hold plain JSON values, got object"):
        run_job(toy.ToyData(1), toy.toy_job(make), tmp_path / "run")


def test_other_settings_in_the_same_folder_are_refused_by_name(tmp_path):
    run_job(toy.ToyData(2), toy.toy_job(), tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"config\.n is 1 there, 2 now; seed is 0 there, 1 now") as caught:
        run_job(toy.ToyData(2), toy.toy_job(config={"n": 2}), tmp_path / "run", RunOptions(seed=1))
    assert "--overwrite" in caught.value.hint
    assert contents(tmp_path / "run") == before
    report = run_job(toy.ToyData(2), toy.toy_job(config={"n": 2}), tmp_path / "run", RunOptions(seed=1, overwrite=True))
    assert (report.done, report.skipped) == (2, 0)


def test_another_list_of_images_is_another_setting(tmp_path):
    run_job(toy.ToyData(2), toy.toy_job(), tmp_path / "run")
    with pytest.raises(
        RunFolderError, match=r"data\.images is 2 there, 3 now; data\.ids_sha256 is \"\w+\.\.\.\" there"
    ):
        run_job(toy.ToyData(3), toy.toy_job(), tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"workers": 0}, "workers must be >= 1, got 0"),
        ({"shard": (4, 3)}, "got 4/3"),
        ({"shard": (0, 3)}, "got 0/3"),
        ({"min_score": float("nan")}, "min_score must be finite"),
        ({"overwrite": True, "shard": (1, 2)}, "overwrite cannot go with a shard"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RunOptions(**options)


def test_min_score_leaves_weak_pixels_unlabelled(tmp_path):
    def make():
        scores = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, *toy.SIZE)
        return lambda sample, rng: SoftMask(scores, (1,))

    report = run_job(toy.ToyData(1), toy.toy_job(make), tmp_path / "run", RunOptions(min_score=0.5))
    assert report.coverage == 0.5
    assert RunFolder.open(tmp_path / "run").header["min_score"] == 0.5


def test_progress_counts_images_done_before(tmp_path):
    calls = []
    run_job(toy.ToyData(4), toy.toy_job(), tmp_path / "run", RunOptions(shard=(1, 2)))
    data = toy.ToyData(4, broken=frozenset({"a/03"}))
    run_job(data, toy.toy_job(), tmp_path / "run", progress=lambda *call: calls.append(call))
    assert calls == [(3, 4, ""), (4, 4, "1 failed")]


def test_a_plan_writes_nothing_and_refuses_what_a_run_would(tmp_path):
    ids, total = plan_job(toy.ToyData(4), toy.toy_job(), tmp_path / "run")
    assert (len(ids), total) == (4, 4) and not (tmp_path / "run").exists()
    run_job(toy.ToyData(4, broken=frozenset({"a/01"})), toy.toy_job(), tmp_path / "run")
    assert plan_job(toy.ToyData(4), toy.toy_job(), tmp_path / "run") == (["a/01"], 4)
    with pytest.raises(RunFolderError, match="seed is 0 there, 3 now"):
        plan_job(toy.ToyData(4), toy.toy_job(), tmp_path / "run", RunOptions(seed=3))
    assert plan_job(toy.ToyData(4), toy.toy_job(), tmp_path / "run", RunOptions(overwrite=True))[1] == 4


def test_an_unknown_method_is_refused_with_the_list():
    with pytest.raises(ConfigError, match="unknown method 'scrible'") as caught:
        method_job("scrible", None, toy.TOY)
    assert "point" in caught.value.hint


def test_decoding_runs_ahead_of_compute(tmp_path):
    loaded = {sample_id: threading.Event() for sample_id in toy.ToyData(2).ids}

    class Watched(toy.ToyData):
        def load(self, sample_id, fields):
            loaded[sample_id].set()
            return super().load(sample_id, fields)

    def make():
        def generate(sample, rng):
            assert loaded["a/01"].wait(10), "the second image is not decoded while the first is labelled"
            return one_hot(np.ones(sample.size, np.uint8))

        return generate

    run_job(Watched(2), toy.toy_job(make), tmp_path / "run")


def test_a_sample_of_another_size_is_a_failure_of_one_image(tmp_path):
    class Odd(toy.ToyData):
        def load(self, sample_id, fields):
            if sample_id == "a/01":
                return Sample(sample_id, (9, 9), truth=self.truth(sample_id))
            return super().load(sample_id, fields)

    assert run_job(Odd(3), toy.toy_job(), tmp_path / "run").failed == 1


def test_a_method_that_cannot_be_built_costs_no_run_and_leaves_none(tmp_path):
    def make():
        raise ConfigError("no such clicks")

    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="no such clicks"):
        run_job(toy.ToyData(6), toy.toy_job(make), out)
    assert not out.exists()
    run_job(toy.ToyData(6), toy.toy_job(), out)
    with pytest.raises(ConfigError, match="no such clicks"):
        run_job(toy.ToyData(6), toy.toy_job(make, config={"n": 2}), out, RunOptions(overwrite=True))
    assert len(RunFolder.open(out).ids) == 6
    assert run_job(toy.ToyData(6), toy.toy_job(make), out).skipped == 6, "a finished run needs no method"
