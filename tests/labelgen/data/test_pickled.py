"""Pickled .npy files: what published code writes is read, and nothing that a file names is ever called."""

import collections
import io
import os
import pickle
import subprocess

import numpy as np
import pytest

from labelgen.data.pickled import decode_npy, read_npy
from labelgen.data.tensor_storages import Storage, view_of_storage
from labelgen.errors import DataError


def npy(value, protocol=4):
    """The bytes of a .npy file that holds one pickled object."""
    box = np.empty((), object)
    box[()] = value
    return header() + pickle.dumps(box, protocol=protocol)


def header():
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue()


def read(content):
    return decode_npy(content, where="seeds/a.npy")


CONTENT = {
    "single": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([0.5], np.float16),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "sliced": np.arange(10)[::3],
    "big-endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
    "names": np.array(["a", "bcd"]),
    "objects": np.array([1, "x", None], object),
    "number": np.float32(2.5),
    3: [1, (2.5, None), {"x": b"bytes", "é": "text"}],
    -4: collections.OrderedDict(),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_containers_come_back(protocol):
    found = read(npy(CONTENT, protocol))
    assert list(found) == list(CONTENT)
    for key, value in CONTENT.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[key], value)
            assert found[key].dtype == value.dtype.newbyteorder("=") and found[key].shape == value.shape
        else:
            assert found[key] == value


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_come_back_as_arrays(protocol):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = {"whole": base, "part": base[1:, ::2], "turned": base.permute(2, 0, 1), "number": base.sum()}
    tensors |= {
        str(dtype): base.to(dtype) for dtype in (torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool)
    }
    found = read(npy(tensors, protocol))
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
        assert found[name].dtype == tensor.numpy().dtype
    assert read(npy({"none": torch.zeros(0, 5)}, protocol))["none"].shape == (0, 5)


def test_plain_arrays_need_no_pickle(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    assert read_npy(tmp_path / "a.npy").tolist() == [0, 1, 2]
    np.save(tmp_path / "b.npy", {"x": 1}, allow_pickle=True)  # type: ignore[arg-type]
    assert read_npy(tmp_path / "b.npy") == {"x": 1}
    with pytest.raises(DataError, match=r"cannot be read: .*c\.npy"):
        read_npy(tmp_path / "c.npy")


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def marker(tmp_path):
    return tmp_path / "executed"


ATTACKS = {
    "os.system": lambda path: Calls(os.system, f"touch {path}"),
    "subprocess": lambda path: Calls(subprocess.call, ["touch", str(path)]),
    "eval": lambda path: Calls(eval, f"open({str(path)!r}, 'w')"),
    "exec": lambda path: Calls(exec, f"open({str(path)!r}, 'w')"),
    "open": lambda path: Calls(open, str(path), "w"),
    "getattr": lambda path: Calls(getattr, "text", "upper"),
    "numpy.save": lambda path: Calls(np.save, str(path), np.zeros(1)),
    "numpy.memmap": lambda path: Calls(np.memmap, str(path), "u1", "w+", 0, (4,)),
    "numpy.load": lambda path: Calls(np.load, str(path)),
    "numpy.fromfile": lambda path: Calls(np.fromfile, "/etc/hostname"),
    "numpy.ndarray": lambda path: Calls(np.ndarray, (2, 2)),
    "an object of a class": lambda path: Calls(collections.Counter, "abc"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "place",
    [
        lambda attack: attack,
        lambda attack: {"keys": [1], "cam": {"deep": ([attack],)}},
        lambda attack: {0: np.array([attack, 1], object)},
        lambda attack: collections.OrderedDict(a=attack),
    ],
)
def test_malicious_files_are_refused_and_do_nothing(tmp_path, name, protocol, place):
    content = npy(place(ATTACKS[name](marker(tmp_path))), protocol)
    with pytest.raises(DataError, match=r"seeds/a\.npy") as caught:
        read(content)
    assert not marker(tmp_path).exists()
    assert caught.value.hint
    # the same file does its work where it is trusted, so the test would notice
    if name == "os.system" and protocol == 4:
        pickle.loads(content[len(header()) :])
        assert marker(tmp_path).exists()


def test_what_was_named_is_said(tmp_path):
    with pytest.raises(
        DataError, match=r"must hold arrays and plain containers alone, got builtins\.eval in seeds/a\.npy"
    ):
        read(npy(Calls(eval, "1")))
    with pytest.raises(DataError, match=r"got (posix|nt)\.system"):
        read(npy(Calls(os.system, "true")))


def test_a_tensor_may_not_carry_a_pickle_of_its_own(tmp_path):
    torch = pytest.importorskip("torch")
    inner = io.BytesIO()
    torch.save(Calls(os.system, f"touch {marker(tmp_path)}"), inner, _use_new_zipfile_serialization=False)
    outer = Calls(torch.storage._load_from_bytes, inner.getvalue())
    with pytest.raises(DataError, match=r"(posix|nt)\.system"):
        read(npy({"cam": outer}))
    zipped = io.BytesIO()
    torch.save(torch.zeros(2), zipped)
    with pytest.raises(DataError, match=r"seeds/a\.npy"):
        read(npy({"cam": Calls(torch.storage._load_from_bytes, zipped.getvalue())}))
    assert not marker(tmp_path).exists()


def code(*opcodes):
    """Opcodes by hand, for what no pickler writes."""
    return header() + b"\x80\x04" + b"".join(opcodes) + b"."


def test_functions_cannot_be_altered():
    name = b"cnumpy\ndtype\n"
    for state in (b"}", b"N}X\x0c\x00\x00\x00__defaults__Ns\x86"):  # BUILD with a dict, and with slots
        with pytest.raises(DataError, match="a function has no state"):
            read(code(name, state, b"b"))
    with pytest.raises(DataError):
        read(code(name, b")", b"\x81"))  # NEWOBJ
    with pytest.raises(DataError):
        read(code(b"cnumpy\nndarray\n", b")R"))
    with pytest.raises(DataError):
        read(code(b"X\x01\x00\x00\x00aQ"))  # a persistent id
    with pytest.raises(DataError):
        read(code(b"c_codecs\nencode\n", b"X\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R"))


@pytest.mark.parametrize("dtype", ["V8", "M8", "O8,f4", "f4,f4", "(2,)f4", "U99999999", "f", ""])
def test_only_plain_dtypes_are_made(dtype):
    text = dtype.encode()
    call = b"cnumpy\ndtype\n" + b"X" + len(text).to_bytes(4, "little") + text + b"\x89\x88\x87R"
    with pytest.raises(DataError, match="dtype"):
        read(code(call))


def test_arrays_must_have_the_bytes_of_their_shape():
    good = npy(np.arange(4, dtype=np.int32), 2)
    assert read(good).tolist() == [0, 1, 2, 3]
    assert b"K\x04\x85" in good  # the shape (4,)
    with pytest.raises(DataError, match="5 numbers must come with their bytes"):
        read(good.replace(b"K\x04\x85", b"K\x05\x85"))


def test_lists_within_lists_do_not_eat_the_memory(monkeypatch):
    monkeypatch.setattr("labelgen.data.pickled.MOST_VALUES", 10_000)
    value = [0]
    for _ in range(40):
        value = [value, value]
    with pytest.raises(DataError, match="nested too deeply or hold too much"):
        read(npy({"x": value}))
    value = []
    value.append(value)
    with pytest.raises(DataError, match="nested too deeply"):
        read(npy({"x": value}))


@pytest.mark.parametrize("cut", [0, 5, 20, 140, 200])
def test_torn_files_are_refused(cut):
    with pytest.raises(DataError, match=r"seeds/a\.npy"):
        read(npy({1: np.zeros((9, 9))})[:cut])


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (7,), (1,)), (1, (6,), (1,)), (0, (2, 2), (5, 2)), (0, (3, 3), (0, 0)), (0, (2,), (-1,)), (-1, (1,), (1,))],
)
def test_tensors_stay_within_their_storage(offset, size, stride):
    storage = Storage(np.dtype("<i8"), 6, np.arange(6))
    assert view_of_storage(storage, 0, (2, 3), (3, 1)).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DataError, match=r"must lie within its storage|must be whole numbers"):
        view_of_storage(storage, offset, size, stride)
