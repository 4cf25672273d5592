"""Layers and distances of a run folder."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from labelgen.errors import DataError, RunFolderError, ShapeError
from labelgen.masks import SoftMask, one_hot, read_mask
from labelgen.run import RunOptions, run_job
from labelgen.store import RunFolder, newest_run, verify_run

SCRIPT = Path(__file__).with_name("toy_run.py")
spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
assert spec is not None
assert spec.loader is not None
toy = importlib.util.module_from_spec(spec)
sys.modules["toy_run"] = toy  # dataclasses look their module up
spec.loader.exec_module(toy)
SIZE, ToyData, toy_job = toy.SIZE, toy.ToyData, toy.toy_job

SCRIBBLE = np.full(SIZE, 255, np.uint8)
SCRIBBLE[0, :3] = 1
PSEUDO = np.zeros(SIZE, np.uint8)
PSEUDO[2:] = 2
WEIGHTS = np.linspace(0, 1, PSEUDO.size, dtype=np.float32).reshape(SIZE)


class MakeLayers:
    def __call__(self):
        def generate(sample, rng):
            mask = one_hot(np.where(SCRIBBLE < 255, SCRIBBLE, PSEUDO))
            layers = {"scribble": SCRIBBLE, "pseudo": PSEUDO}
            return SoftMask(mask.scores, mask.class_ids, layers=layers, distances={"pseudo": WEIGHTS})

        return generate


@pytest.fixture
def run(tmp_path):
    out = tmp_path / "runs" / "layered"
    run_job(ToyData(3), toy_job(MakeLayers(), needs=(), method="layers"), out)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_layers_and_distances_are_read_back(run):
    opened = RunFolder.open(run)
    assert opened.layers == ("pseudo", "scribble")
    np.testing.assert_array_equal(opened.layer("scribble", "a/01"), SCRIBBLE)
    np.testing.assert_array_equal(opened.layer("pseudo", "a/01"), PSEUDO)
    np.testing.assert_array_equal(read_mask(run / "layers/pseudo/a/02.png"), PSEUDO)
    distances = opened.distances("a/00")
    assert distances is not None
    assert set(distances) == {"pseudo"}
    assert distances["pseudo"].dtype == np.float32
    np.testing.assert_array_equal(distances["pseudo"], WEIGHTS.astype(np.float16))


def test_what_is_not_there_is_said(run, tmp_path):
    opened = RunFolder.open(run)
    with pytest.raises(DataError, match="no layer 'truth' of image 'a/01'"):
        opened.layer("truth", "a/01")
    with pytest.raises(DataError, match="no label for image 'z'"):
        opened.layer("pseudo", "z")
    run_job(ToyData(2), toy_job(), tmp_path / "plain")
    plain = RunFolder.open(tmp_path / "plain")
    assert plain.layers == ()
    assert plain.distances("a/00") is None
    assert not (tmp_path / "plain/layers").exists()


def test_the_bytes_do_not_depend_on_the_order_in_which_shards_finish(run, tmp_path):
    for part in (2, 1):
        options = RunOptions(shard=(part, 2))
        run_job(ToyData(3), toy_job(MakeLayers(), needs=(), method="layers"), tmp_path / "shards", options)
    assert files(tmp_path / "shards") == files(run)


def test_verify_looks_at_layers_and_distances(run):
    assert verify_run(run) == []
    (run / "layers/pseudo/a/00.png").write_bytes(b"other")
    (run / "layers/scribble/a/01.png").unlink()
    (run / "layers/scribble/a/09.png").write_bytes(b"extra")
    (run / "distances/a/02.npz").write_bytes(b"other")
    (run / "layers/guess").mkdir()
    (run / "layers/guess/x.png").write_bytes(b"extra")
    problems = "\n".join(verify_run(run))
    for words in (
        "layers/pseudo/a/00.png: changed",
        "layers/scribble/a/01.png: missing",
        "layers/scribble/a/09.png: not in",
        "distances/a/02.npz: changed",
        "layers/guess/x.png: not in",
    ):
        assert words in problems
    with pytest.raises(DataError, match="distances cannot be read"):
        RunFolder.open(run).distances("a/02")


def test_overwrite_removes_layers_and_distances(run):
    run_job(ToyData(3), toy_job(), run, RunOptions(overwrite=True))
    assert not (run / "layers").exists()
    assert not (run / "distances").exists()
    assert verify_run(run) == []


def test_an_image_that_fails_loses_its_layers(tmp_path):
    out, job = tmp_path / "run", toy_job(MakeLayers(), needs=(), method="layers")
    run_job(ToyData(3), job, out, RunOptions(shard=(1, 2)))
    (out / "layers/pseudo/a").mkdir(exist_ok=True)
    (out / "layers/pseudo/a/01.png").write_bytes(b"of a process that was killed")
    run_job(ToyData(3, broken=frozenset({"a/01"})), job, out, RunOptions(shard=(2, 2)))
    assert verify_run(out) == []
    assert not (out / "layers/pseudo/a/01.png").exists()


def test_names_and_sizes_of_layers_are_checked(tmp_path):
    mask = SoftMask(np.zeros((0, 2, 2), np.float32), ())
    object.__setattr__(mask, "layers", {"pseudo": PSEUDO})  # past the check of types that tests alone have
    with pytest.raises(ShapeError, match="layer 'pseudo' must have the size"):
        mask.__post_init__()

    def make():
        return lambda sample, rng: SoftMask(np.zeros((0, *SIZE), np.float32), (), layers={"../up": PSEUDO})

    with pytest.raises(RuntimeError, match="the name of a layer must be small letters"):
        run_job(ToyData(1), toy_job(make), tmp_path / "run")


def test_the_newest_run_among_some_methods(run, tmp_path):
    root = run.parent
    run_job(ToyData(2), toy_job(), root / "toy")
    assert newest_run(root) == root / "toy"
    assert newest_run(root, among=("layers",)) == run
    with pytest.raises(RunFolderError, match=r"no run below .* is by scribble or point"):
        newest_run(root, among=("scribble", "point"))
