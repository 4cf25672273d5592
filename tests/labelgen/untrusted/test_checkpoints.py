"""Checkpoints of strangers: no program of theirs runs, no file that they name is opened, nothing is unfolded."""

import io
import json
import pickle
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from labelgen.errors import WeightsError
from labelgen.nets.clip.checkpoint import read_clip_checkpoint
from labelgen.nets.clip.script_archive import is_script_archive, read_script_archive
from labelgen.nets.weights import read_checkpoint


class Writes(torch.nn.Module):
    """Saves a file when it is loaded."""

    def __init__(self, path):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(3))
        self.path: str = path

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.w, self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
        self.w = state[0]
        self.path = state[1]
        self.training = state[2]
        torch.save(self.w, self.path)


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        yield


def test_programs_of_torchscript_archives_do_not_run(tmp_path, quiet):
    marker, path = tmp_path / "written", tmp_path / "a.pt"
    torch.jit.script(Writes(str(marker))).save(str(path))
    assert is_script_archive(path)
    for read in (read_script_archive, read_clip_checkpoint):
        with pytest.raises(WeightsError, match=r"table of its attributes in .*a\.pt"):
            read(path)
    assert not marker.exists()
    torch.jit.load(str(path))  # which the test would notice
    assert marker.exists()


def test_torchscript_archives_hold_what_torch_finds_in_them(tmp_path, quiet):
    inner = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model = torch.nn.Sequential(inner, torch.nn.Linear(2, 4)).eval()
    model.register_buffer("context_length", torch.tensor(77))
    model[1].scratch = torch.ones(9)  # an attribute that is neither parameter nor buffer
    model[1].half()
    with torch.no_grad():
        inner[0].weight.copy_(torch.arange(6.0).reshape(3, 2).T)  # strides other than those of rows
    path = tmp_path / "a.pt"
    traced = torch.jit.trace(inner, torch.ones(1, 3))
    for module in (traced, torch.jit.script(model)):
        module.save(str(path))
        expected, found = torch.jit.load(str(path)).state_dict(), read_script_archive(path)
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def repacked(path, changes):
    """The archive with some files replaced."""
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            short = name.split("/", 1)[1]
            archive.writestr(name, changes[short](content) if short in changes else content)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data.pkl", lambda c: pickle.dumps(print), r"only modules and tensors are read, got builtins\.print"),
        ("data.pkl", lambda c: c[:40], "not a readable TorchScript archive"),
        ("data.pkl", lambda c: b"\x80\x02Nr\xff\xff\xff\xff.", "a table that it does not fill"),
        ("data/0", lambda c: c[:4], "must hold 6 numbers, got 1"),
        ("byteorder", lambda c: b"big", "must be little-endian"),
    ],
)
def test_damaged_torchscript_archives_are_refused(tmp_path, quiet, name, change, message):
    path = tmp_path / "a.pt"
    torch.jit.trace(torch.nn.Linear(3, 2), torch.ones(1, 3)).save(str(path))
    repacked(path, {name: change})
    with pytest.raises(WeightsError, match=message):
        read_script_archive(path)


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint_path": "evil.pth"},
        {"pretrained": True},
        {"pretrained_cfg": {"file": "evil.pth"}},
        {"cache_dir": "/"},
        {"norm_layer": {"a": 1}},
    ],
)
def test_the_metadata_of_weights_names_no_file(tmp_path, options):
    about = {"model": "test_vit", "timm_kwargs": options, "names": "timm"}
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"labelgen": json.dumps(about)})
    with pytest.raises(WeightsError, match="not where it is read from, got"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_tensors_that_repeat_a_number_are_refused(tmp_path):
    torch.save({"norm.bias": torch.zeros(1).expand(2**40)}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 2**12
    with pytest.raises(WeightsError, match="as many numbers as its storage"):
        read_checkpoint(tmp_path / "a.pt")


def test_checkpoints_are_not_blown_up(tmp_path):
    stream = io.BytesIO()
    torch.save({"norm.bias": torch.zeros(2**25)}, stream)
    with zipfile.ZipFile(stream) as plain, zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as small:
        for info in plain.infolist():
            small.writestr(info.filename, plain.read(info))
    assert (tmp_path / "a.pt").stat().st_size < 2**18
    with pytest.raises(WeightsError, match="unpacks to"):
        read_checkpoint(tmp_path / "a.pt")
