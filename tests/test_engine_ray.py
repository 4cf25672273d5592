"""`--engine ray` on a cluster of this machine, begun by `ray start --head`: the results of the local engine."""

import importlib.util
import json
import os
import pickle
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ray_head import free_port, ray_head, variables

import labelgen
from labelgen.cli import main
from labelgen.cluster import Token, Witness
from labelgen.cluster.crew import _Crew, _Member, _sorted
from labelgen.cluster.session import connected, gpu_share
from labelgen.cluster.worker import Worker, facts_here, portable
from labelgen.data.open import open_data
from labelgen.engine import Engine
from labelgen.errors import ConfigError, DataError, LabelgenError
from labelgen.job import Job
from labelgen.pool_ray import computes_on_cuda
from labelgen.quality.curve_run import run_curve
from labelgen.run import RunOptions, run_job
from labelgen.store import RunFolder, read_header, verify_run

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests" / "labelgen" / "toy_run.py"
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
# Ray leaves sockets and files to the garbage collector
quiet = [pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")]
on_cluster = [needs_ray, pytest.mark.slow, *quiet]


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module", autouse=True)
def together(tmp_path_factory):
    """The folder of all processes of pytest-xdist; what they know of Ray is the same in all tests here."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in variables(folder).items():
            monkeypatch.setenv(name, value)
        yield folder


@pytest.fixture(scope="module")
def cluster(together):
    """Address of a head with two CPUs."""
    with ray_head(together) as address:
        yield address


@pytest.fixture
def engine(cluster):
    return Engine("ray", cluster)


@pytest.fixture(scope="module")
def toy(cluster):
    """The toy data set and method of the runner's tests, sent to actors whole."""
    import ray.cloudpickle

    spec = importlib.util.spec_from_file_location("toy_run", TOY)
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_run"] = module
    spec.loader.exec_module(module)
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def toy_run(toy, out, engine, *, delay=0.0, crash="", progress=None, workers=1, **options):
    data = toy.ToyData(24, broken=frozenset({"a/04"}))
    settings = RunOptions(workers=workers, save_scores=True, engine=engine, **options)
    return run_job(data, toy.toy_job(toy.MakeToy(delay, crash)), out, settings, progress=progress)


@pytest.fixture(scope="module")
def reference(toy, tmp_path_factory):
    """24 images, one of them broken, labelled in this process."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    run_job(toy.ToyData(24, broken=frozenset({"a/04"})), toy.toy_job(), folder, RunOptions(save_scores=True))
    return contents(folder)


def marked(function):
    for mark in reversed(on_cluster):
        function = mark(function)
    return function


@marked
def test_a_run_and_its_failures_are_those_of_the_local_engine(engine, toy, reference, tmp_path):
    seen = []
    report = toy_run(
        toy, tmp_path / "run", engine, workers=2, progress=lambda done, total, note: seen.append((done, total))
    )
    assert (report.done, report.failed, report.complete) == (23, 1, True)
    assert contents(tmp_path / "run") == reference and verify_run(tmp_path / "run") == []
    assert seen == [(number, 24) for number in range(1, 25)]


@marked
def test_shards_of_both_engines_fill_one_folder(engine, toy, reference, tmp_path):
    first = toy_run(toy, tmp_path / "run", engine, shard=(1, 2))
    assert not first.complete and first.done == 11 and first.failed == 1
    toy_run(toy, tmp_path / "run", Engine(), shard=(2, 2))
    assert contents(tmp_path / "run") == reference


@marked
def test_a_fresh_actor_takes_over_from_one_that_is_killed(engine, toy, reference, tmp_path, caplog):
    killed = []

    def kill_once(done, total, note):
        journals = sorted((tmp_path / "run" / ".journal").glob("*.jsonl"))
        if journals and not killed:
            killed.append(int(re.search(r"-(\d+)-[0-9a-f]+\.jsonl", journals[-1].name)[1]))
            os.kill(killed[0], signal.SIGKILL)

    report = toy_run(toy, tmp_path / "run", engine, workers=2, delay=0.1, progress=kill_once)
    assert killed and "a Ray worker died" in caplog.text
    assert report.complete and contents(tmp_path / "run") == reference


@marked
def test_an_image_that_kills_every_actor_ends_the_run_with_its_name(engine, toy, reference, tmp_path):
    with pytest.raises(LabelgenError, match=r"3 Ray workers died one after the other over image 'a/0[0-3]'") as caught:
        toy_run(toy, tmp_path / "run", engine, crash="die")
    assert "the same command again" in caught.value.hint
    assert read_header(tmp_path / "run")["state"] == "running"
    toy_run(toy, tmp_path / "run", Engine())  # what was kept is whole
    assert contents(tmp_path / "run") == reference


@marked
def test_an_interruption_leaves_what_another_engine_finishes(engine, toy, reference, tmp_path):
    def stop(done, total, note):
        if done == 5:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        toy_run(toy, tmp_path / "run", engine, delay=0.05, progress=stop)
    assert signal.getsignal(signal.SIGTERM) == before
    assert read_header(tmp_path / "run")["state"] == "running"
    report = toy_run(toy, tmp_path / "run", Engine())
    assert report.skipped >= 5 and contents(tmp_path / "run") == reference


@marked
def test_a_bug_stops_the_run_and_names_the_image(engine, toy, tmp_path):
    with pytest.raises(RuntimeError, match="KeyError while labelling image 'a/03'"):
        toy_run(toy, tmp_path / "run", engine, crash="bug")


@marked
def test_workers_of_another_version_are_refused(engine, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(labelgen, "__version__", "9.9.9")
    here = r"labelgen 0\.\d+\.\d+ there, 9\.9\.9 here"
    with pytest.raises(ConfigError, match=f"worker on .* has other versions: {here}"):
        toy_run(toy, tmp_path / "run", engine)


@marked
def test_workers_that_see_another_folder_are_refused(engine, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(Token, "renew", lambda token: token.path.write_bytes(b"of another disk"))
    with pytest.raises(ConfigError, match=r"worker on .* does not see .*run as this machine does") as caught:
        toy_run(toy, tmp_path / "run", engine)
    assert "file system that all machines share" in caught.value.hint
    assert not list((tmp_path / "run").glob(".token*"))


@marked
def test_workers_that_cannot_import_this_version_are_refused(engine, toy, tmp_path, monkeypatch):
    class OldWorker:
        def __init__(self):
            raise ModuleNotFoundError("No module named 'labelgen.cluster'")

        def hello(self, *_):
            raise AssertionError("nobody gets so far")

    monkeypatch.setattr("labelgen.cluster.crew.Worker", OldWorker)
    what = "cannot run this version of labelgen: ModuleNotFoundError: No module named 'labelgen.cluster'"
    with pytest.raises(ConfigError, match=what) as caught:
        toy_run(toy, tmp_path / "run", engine)
    assert "install the same labelgen on all machines" in caught.value.hint


@marked
def test_a_method_a_refiner_and_quality_as_typed(cluster, one_thread, capsys, caplog, tmp_path):
    flags = ["--limit", "6", "--no-sheet"]
    on_ray = ["--engine", "ray", "--ray-address", cluster, "--workers", "2"]
    assert main(["corrupt", "demo", *flags, "--save-scores", "--out", "local"]) == 0
    assert main(["corrupt", "demo", *flags, "--save-scores", "--out", "onray/local", *on_ray]) == 0
    assert contents(tmp_path / "local") == contents(tmp_path / "onray/local")
    refine = ["refine", "local", "--with", "regions:slic", "--no-sheet", "--out"]
    assert main([*refine, "fine"]) == 0 and main([*refine, "fine-ray", *on_ray[:-1], "1"]) == 0
    assert contents(tmp_path / "fine") == contents(tmp_path / "fine-ray")
    assert f"ray: the cluster at {cluster}, 2 CPUs, 0 GPUs" in caplog.text
    capsys.readouterr()
    measure = ["quality", "local", "--boundary", "--calibration", "--json"]
    assert main(measure) == 0
    expected = json.loads(capsys.readouterr().out)
    assert main([*measure, *on_ray]) == 0
    assert json.loads(capsys.readouterr().out) == expected


@marked
def test_a_network(cluster, one_thread, tmp_path):
    on_ray = ["--engine", "ray", "--ray-address", cluster, "--workers", "1"]
    clip = ["clip", "demo", "--limit", "4", "--no-sheet"]
    assert main([*clip, "--out", "local"]) == 0
    assert main([*clip, "--out", "onray", *on_ray]) == 0
    assert read_header(tmp_path / "onray")["threads"] == 1
    assert contents(tmp_path / "local") == contents(tmp_path / "onray")


@marked
def test_features(cluster, one_thread, tmp_path, monkeypatch):
    from segprobe.cli import main as segprobe

    monkeypatch.setattr("segprobe.features.layout.SHARD_IMAGES", 2)
    on_ray = ["--engine", "ray", "--ray-address", cluster, "--workers", "1"]
    assert segprobe(["cache", "demo", "--limit", "4", "--out", "a"]) == 0
    assert segprobe(["cache", "demo", "--limit", "4", "--out", "b", *on_ray]) == 0
    made, expected = contents(tmp_path / "b"), contents(tmp_path / "a")
    assert made == expected and sum(name.endswith(".bin") for name in made) == 2


# What needs no cluster


def test_a_sweep_passes_its_engine_on(monkeypatch):
    seen = []

    def look(target, point, out, options, *, sheet):
        seen.append((options.engine, options.workers))
        raise ConfigError("enough is seen")

    monkeypatch.setattr("labelgen.commands.sweep.make_and_measure", look)
    flags = ["--engine", "ray", "--ray-address", "first:6379", "--ray-gpus", "0.5", "--workers", "3"]
    assert main(["sweep", "point", "demo", "--n", "1,2", *flags]) == 2
    assert seen == [(Engine("ray", "first:6379", 0.5), 3)]


def test_results_come_in_the_order_of_their_chunks():
    finished = [(1, ["c"]), (3, ["e"]), (0, ["a", "b"]), (2, [])]
    assert list(_sorted(iter(finished))) == [["a", "b"], ["c"], [], ["e"]]


def test_what_scores_an_image_of_a_curve_can_be_sent(tmp_path, monkeypatch):
    sent = []

    def send(score, source, truth, *, workers, engine, progress):
        sent.append(engine)
        copy = pickle.loads(pickle.dumps(score))
        return map(copy, truth.ids)

    assert main(["corrupt", "demo", "--limit", "2", "--no-sheet", "--save-scores", "--out", "run"]) == 0
    run, truth = RunFolder.open("run"), open_data("demo", limit=2)
    expected = run_curve(run, truth)
    monkeypatch.setattr("labelgen.quality.curve_run.scored", send)
    found = run_curve(run, truth, engine=Engine("ray"))
    assert sent == [Engine("ray")]
    np.testing.assert_array_equal(found.own, expected.own)
    for (_, ours), (_, theirs) in zip(found.reported.matrices(), expected.reported.matrices(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_ray_the_error_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["corrupt", "demo", "--limit", "2", "--out", "run", "--engine", "ray"]) == 2
    err = capsys.readouterr().err
    assert "--engine ray needs Ray, which is not installed" in err and "hint: pip install 'labelgen[ray]'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dask"}, "engine must be local or ray, got 'dask'"),
        ({"address": "auto"}, "--ray-address needs --engine ray, got --engine local"),
        ({"gpus": 1.0}, "--ray-gpus needs --engine ray"),
        ({"name": "ray", "gpus": -1.0}, "--ray-gpus must be finite and >= 0, got -1.0"),
    ],
)
def test_engines_out_of_range_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Engine(**arguments)


@needs_ray
@pytest.mark.parametrize("address", ["auto", "127.0.0.1:{port}", "nonsense", "ray://127.0.0.1:{port}"])
def test_a_cluster_that_does_not_answer_is_an_error_at_once(address, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    address = address.format(port=free_port())
    for _ in range(2 if address == "auto" else 1):
        with (
            pytest.raises(ConfigError, match="no Ray cluster answers at ") as caught,
            connected(Engine("ray", address), 1),
        ):
            pass
        assert "ray start --head" in caught.value.hint
        (tmp_path / "ray").mkdir(exist_ok=True)  # what a head that was killed leaves behind
        (tmp_path / "ray/ray_current_cluster").write_text(f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("workers", "gpus", "share"), [(1, 4, 1.0), (4, 4, 1.0), (8, 4, 0.5), (3, 2, 0.5), (5, 2, 1 / 3), (2, 1, 0.5)]
)
def test_all_workers_find_a_place_on_the_gpus(workers, gpus, share):
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 16.0, "GPU": float(gpus)})
    assert gpu_share(ray, Engine("ray"), workers=workers, on_gpu=True) == pytest.approx(share)
    assert gpus * int(1 / share + 1e-9) >= workers
    assert gpu_share(ray, Engine("ray"), workers=workers, on_gpu=False) == 0
    assert gpu_share(ray, Engine("ray", gpus=0.25), workers=workers, on_gpu=False) == 0.25


def test_a_cluster_without_gpus_is_refused_where_networks_need_them():
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 16.0})
    with pytest.raises(ConfigError, match="the Ray cluster has no GPU"):
        gpu_share(ray, Engine("ray"), workers=2, on_gpu=True)


@pytest.mark.parametrize(
    ("config", "facts", "found"),
    [
        ({"device": "cuda"}, {}, True),
        ({"device": "cpu"}, {}, False),
        ({"steps": [{"refiner": "affinity", "device": "cuda"}]}, {}, True),
        ({"device": "cpu"}, {"refine": [{"refiner": "walk", "device": "cuda"}]}, True),
        ({}, {}, False),
    ],
)
def test_a_job_says_whether_it_computes_on_cuda(config, facts, found, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    vocabulary = labelgen.vocab.Vocabulary("two", ("a", "b"))
    job = Job("clip", config, dict, frozenset(), True, vocabulary, models={"net": {}}, facts=facts)
    assert computes_on_cuda(job) is found
    without = Job("box", config, dict, frozenset(), True, vocabulary, facts=facts)
    assert not computes_on_cuda(without)


def test_ray_chooses_the_gpu():
    vocabulary = labelgen.vocab.Vocabulary("two", ("a", "b"))
    job = Job("clip", {"device": "cuda:1"}, dict, frozenset(), True, vocabulary, models={"net": {}})
    with pytest.raises(ConfigError, match="Ray chooses the GPU of each worker, got --device cuda:1"):
        computes_on_cuda(job)


def test_a_worker_says_what_it_sees(tmp_path):
    token = Token.into(tmp_path)
    token.renew()
    facts = Worker().hello(str(tmp_path), token, ("numpy", "no-such-thing"), ("labelgen",))
    assert facts.folder and facts.witness
    assert facts.versions["numpy"] == np.__version__ and facts.versions["no-such-thing"] == "absent"
    assert facts.versions == facts_here(("numpy", "no-such-thing"), ("labelgen",)).versions
    assert not Worker().hello(str(tmp_path / "absent"), token, (), ()).folder
    other = Witness(token.path, "0" * 64)
    assert not Worker().hello(str(tmp_path), other, (), ()).witness
    token.remove()
    assert not token.path.exists()


def test_a_worker_that_misses_a_file_is_asked_once_more(tmp_path):
    """Another process may have completed the run and swept the file away between writing and looking."""
    greeted, token = [], Token.into(tmp_path)
    crew = object.__new__(_Crew)
    crew.work, crew._greet, crew.here = SimpleNamespace(witness=token), greeted.append, facts_here((), ())
    member, blind = _Member(actor=None), replace(facts_here((), ()), witness=False)
    crew._welcome(member, blind)
    assert greeted == [member] and token.path.is_file()
    with pytest.raises(ConfigError, match=f"does not see {re.escape(str(tmp_path))} as this machine does"):
        crew._welcome(member, blind)
    assert greeted == [member]


def test_a_worker_keeps_what_it_did_before_an_error():
    def build():
        def work(chunk):
            for number in chunk:
                if number < 0:
                    raise DataError("below zero", hint="add")
                yield number + 1

        return work

    worker = Worker()
    assert worker.prepare(build) == ([], None)
    assert worker.work([1, 2]) == ([2, 3], None)
    results, error = worker.work([1, -1, 2])
    assert results == [2] and isinstance(error, DataError) and error.hint == "add"
    _, error = Worker().prepare(lambda: {}["weights"])
    assert isinstance(error, RuntimeError) and str(error) == "KeyError: 'weights'"
    assert "Traceback" in error.__notes__[0]


def test_errors_that_cannot_be_sent_become_their_text():
    class OddError(LabelgenError):
        pass

    assert str(portable(OddError("of this function only"))) == "OddError: of this function only"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "features are computed by one process, got --workers 2"),
        (["--engine", "ray", "--device", "cuda:1"], "Ray chooses the GPU of each worker"),
    ],
)
def test_features_on_workers_that_cannot_be_are_refused(arguments, message, capsys):
    from segprobe.cli import main as segprobe

    assert segprobe(["cache", "demo", "--limit", "2", *arguments]) == 2
    assert message in capsys.readouterr().err
