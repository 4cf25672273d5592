"""`labelgen doctor`: what it finds on machines that are in order, and on others."""

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from labelgen.cli import main
from labelgen.doctor import OK, PROBLEM, WARNING, Finding, look, machine, packages, worst
from labelgen.doctor.child import STEPS, try_steps

FINE = {
    "torch": {"found": {"version": "2.9.0+cpu", "cuda": None, "threads": 2}},
    "torchvision": {"found": {"version": "0.24.0+cpu"}},
    "gpu": {"found": {"cuda": [], "mps": False}},
    "numba": {"found": {"version": "0.60"}},
    "cv2": {"found": {"version": "4.10.0", "file": "cv2.so"}},
    "pydensecrf": {"error": "ModuleNotFoundError: No module named 'pydensecrf'"},
    "timm": {"found": {"version": "1.0"}},
    "open_clip": {"found": {"version": "3.0"}},
}
BROKEN_OPS = {"error": "RuntimeError: operator torchvision::nms does not exist"}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path


def install(folder, name, version, files, requires=()):
    """A package as pip leaves it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return metadata.PathDistribution(info)


def test_two_packages_that_own_one_folder_are_found(tmp_path):
    both = [
        install(tmp_path, "opencv-python", "4.10.0", ["cv2/__init__.py", "cv2/cv2.so"]),
        install(tmp_path, "opencv-python-headless", "4.12.0", ["cv2/__init__.py"]),
        install(tmp_path, "cv2-tools", "1.0", ["cv2_tools/__init__.py"]),
    ]
    owners = packages.owners_of("cv2", both)
    assert owners == {"opencv-python": "4.10.0", "opencv-python-headless": "4.12.0"}
    found = packages.look_at_owners("cv2", owners, FINE)
    assert found.state == WARNING
    assert "opencv-python 4.10.0 and opencv-python-headless 4.12.0 write into the same folder cv2/" in found.found
    assert found.advice == "pip uninstall opencv-python opencv-python-headless, then pip install opencv-python"
    broken = packages.look_at_owners("cv2", owners, {"cv2": {"error": "ImportError: undefined symbol"}})
    assert broken.state == PROBLEM and "undefined symbol" in broken.found
    assert packages.look_at_owners("cv2", {"opencv-python": "5.0"}, FINE).state == OK


def test_both_packages_of_pydensecrf_are_a_problem(tmp_path):
    both = [
        install(tmp_path, "pydensecrf", "1.0rc3", ["pydensecrf/densecrf.so"]),
        install(tmp_path, "pydensecrf2", "1.1", ["pydensecrf/densecrf.so"]),
    ]
    found = packages.look_at_owners("pydensecrf", packages.owners_of("pydensecrf", both), FINE)
    assert found.state == PROBLEM
    assert found.advice == "pip uninstall pydensecrf pydensecrf2, then pip install pydensecrf2"


def test_torch_and_torchvision_that_do_not_fit():
    assert machine.look_at_torch(FINE).state == OK
    found = machine.look_at_torch({**FINE, "torchvision": BROKEN_OPS})
    assert found.state == PROBLEM and "operator torchvision::nms does not exist" in found.found
    assert "pip install --force-reinstall torch torchvision" in found.advice
    found = machine.look_at_torch({**FINE, "torch": {"error": "ImportError: libtorch.so"}})
    assert found.state == PROBLEM and "torch cannot be imported" in found.found
    other = {**FINE, "torchvision": {"found": {"version": "0.24.0+cu128"}}}
    assert machine.look_at_torch(other).state == WARNING


def test_gpus():
    assert machine.look_at_gpu(FINE, drivers=["absent"]).found == "none; networks run on the processor"
    assert machine.look_at_gpu(FINE, drivers=[sys.executable]).state == WARNING  # a driver, and torch cannot use it
    card = {"gpu": {"found": {"cuda": [{"name": "H100", "gib": 79.1}], "mps": False}}}
    assert machine.look_at_gpu(card).found == "H100 (79.1 GiB)"
    assert machine.look_at_gpu({"gpu": {"error": "CUDA error"}}).state == WARNING


def test_backends_of_the_crf():
    assert packages.look_at_crf({}, FINE).state == OK
    assert packages.look_at_crf({"pydensecrf2": "1.1"}, FINE).state == WARNING  # there, and cannot be imported
    works = {**FINE, "pydensecrf": {"found": {"file": "x"}}}
    assert packages.look_at_crf({"pydensecrf2": "1.1"}, works).facts["backends"] == ["labelgen", "pydensecrf"]
    assert packages.look_at_crf({}, {**FINE, "numba": {"error": "ImportError"}}).state == PROBLEM


def test_requirements():
    assert packages.look_at_packages(["numpy>=1.20", "Pillow (>=9)", "absent; extra == 'x'"]).state == OK
    found = packages.look_at_packages(["numpy>=99", "no-such-package-of-ours"])
    assert found.state == PROBLEM
    assert "missing: no-such-package-of-ours" in found.found and "(needs >=99)" in found.found


def test_threads(monkeypatch):
    assert machine.look_at_threads(FINE).state == OK
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert machine.look_at_threads(FINE).state == WARNING


def test_folders_that_cannot_be_written_to(tmp_path, monkeypatch):
    assert machine.look_at_writing([tmp_path / "a" / "b"]).state == OK
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    found = machine.look_at_writing([tmp_path / "file" / "runs"])  # a file cannot hold a folder
    assert found.state == PROBLEM and "cannot be written to" in found.found
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_disk(tmp_path, monkeypatch):
    for free, state in ((1e12, OK), (1e9, WARNING), (1e6, PROBLEM)):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert machine.look_at_disk([tmp_path]).state == state


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_sizes_of_caches(tmp_path):
    (tmp_path / "hub" / "deep").mkdir(parents=True)
    (tmp_path / "hub" / "deep" / "weights").write_bytes(b"x" * 3_000_000)
    (tmp_path / "hub" / "link").symlink_to(tmp_path / "hub" / "deep")
    assert machine.folder_size(tmp_path / "hub") == 3_000_000
    facts = machine.look_at_caches({"hub": tmp_path / "hub", "none": tmp_path / "none"}).facts
    assert (facts["hub"]["megabytes"], facts["none"]["megabytes"]) == (3.0, None)


@pytest.mark.slow
def test_a_child_that_is_taken_down_costs_one_step():
    code = {
        "first": "found = {'n': 1}",
        "dies": "import os; os._exit(9)",
        "noisy": "print('hello'); found = {'n': 2}",
        "lasts": "import time; time.sleep(60)",
    }
    found = try_steps(list(code), steps=code, seconds=3.0)
    assert found["first"] == {"found": {"n": 1}} and found["noisy"] == {"found": {"n": 2}}
    assert found["dies"] == {"error": "the process ended with code 9"}
    assert found["lasts"] == {"error": "no answer within 3 seconds"}


def test_findings_and_their_order():
    with pytest.raises(ValueError, match="what is not ok needs advice"):
        Finding("x", WARNING, "odd")
    with pytest.raises(ValueError, match="state must be one of"):
        Finding("x", "bad", "odd", "do this")
    assert worst([]) == OK
    assert worst([Finding("a", PROBLEM, "", "x"), Finding("b", WARNING, "", "x")]) == PROBLEM


def run_with(monkeypatch, steps, *tokens):
    monkeypatch.setattr("labelgen.doctor.look_at_everything", lambda: look.look_at_everything(lambda _: steps))
    return main(["doctor", *tokens])


def test_exit_codes_and_both_forms(monkeypatch, capsys):
    assert run_with(monkeypatch, {**FINE, "torchvision": BROKEN_OPS}) == 1
    out = capsys.readouterr().out
    assert "PROBLEM  torch: torch 2.9.0+cpu, but torchvision fails with it" in out
    assert "         to do: pip install --force-reinstall torch torchvision" in out
    assert run_with(monkeypatch, {**FINE, "torchvision": BROKEN_OPS}, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["state"] == PROBLEM
    states = {finding["name"]: finding["state"] for finding in document["findings"]}
    assert states["torch"] == PROBLEM and states["python"] == OK
    assert {"packages", "gpu", "cv2", "pydensecrf", "dense CRF", "threads", "caches", "writing", "disk"} <= set(states)


def test_it_needs_no_torch_itself(monkeypatch, capsys):
    """Everything is broken, and it still says so."""
    broken = {name: {"error": "ImportError: nothing works"} for name in STEPS}
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it here fails
    assert run_with(monkeypatch, broken, "--json") == 1
    assert json.loads(capsys.readouterr().out)["state"] == PROBLEM


@pytest.mark.slow
def test_this_environment(capsys):
    code = main(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == int(document["state"] == PROBLEM)
    torch = next(finding for finding in document["findings"] if finding["name"] == "torch")
    assert "version" in torch["facts"]["torch"]["found"]
    assert Path("runs").exists() is False
