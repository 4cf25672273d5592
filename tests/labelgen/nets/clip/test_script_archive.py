"""TorchScript archives are read within a bound of memory, whatever their pickle says of the numbers."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from labelgen.errors import WeightsError
from labelgen.nets.clip import script_archive
from labelgen.nets.clip.script_archive import read_script_archive

COUNT = 1000


class Storage:
    """Stands for the file of numbers."""


class Tensor:
    """Is rebuilt as a tensor of all numbers."""

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (Storage(), 0, (COUNT,), (1,), False, OrderedDict())


class Writer(pickle.Pickler):
    def persistent_id(self, obj):
        return ("storage", torch.FloatStorage, "0", "cpu", COUNT) if isinstance(obj, Storage) else None


@pytest.fixture
def save(tmp_path, monkeypatch):
    program = types.ModuleType("__torch__")
    program.Net = type("Net", (), {"__module__": "__torch__"})
    monkeypatch.setitem(sys.modules, "__torch__", program)

    def write(tensors):
        net = program.Net()
        net.__dict__.update({f"weight{number}": Tensor() for number in range(tensors)})
        stream = io.BytesIO()
        Writer(stream, protocol=2).dump(net)
        path = tmp_path / "archive.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", stream.getvalue())
            archive.writestr("net/data/0", np.arange(COUNT, dtype=np.float32).tobytes())
            archive.writestr("net/code/__torch__.py", "")
        return path

    return write


def test_two_tensors_may_have_the_same_numbers(save):
    found = read_script_archive(save(2))
    assert list(found) == ["weight0", "weight1"]
    assert torch.equal(found["weight1"], torch.arange(COUNT, dtype=torch.float32))


def test_many_tensors_of_the_same_numbers_are_refused(save, monkeypatch):
    monkeypatch.setattr(script_archive, "LARGEST_DOCUMENT", 40_000)
    path = save(50)
    assert path.stat().st_size < 20_000
    with pytest.raises(WeightsError, match=r"names the same numbers far too often in .*archive\.pt"):
        read_script_archive(path)
