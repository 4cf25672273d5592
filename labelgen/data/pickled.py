"""Read .npy files that hold pickled arrays, tensors and dictionaries, without executing anything that they name.

Published code saves seeds and image-level labels with `numpy.save(name, {...})`, which pickles the dictionary, and a
pickle may name any function to be called when it is read. Here a pickle can name a dozen things, and each of them
stands for a small constructor of this file that checks what it is given: no function of numpy, torch or Python is ever
called on behalf of the file.
"""

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.data.tensor_storages import STORAGE_TYPES, Storage, read_storage, view_of_storage
from labelgen.errors import DataError
from labelgen.untrusted import check_pickle, read_bounded, read_npy_array
from labelgen.untrusted.limits import LARGEST_ARRAYS, LARGEST_DOCUMENT

__all__ = ["decode_npy", "read_npy"]

NPY_DTYPES = frozenset(
    f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248"}.items() for size in sizes
)
COPIES = 4  # of a file's bytes that its arrays may take: text that stands for bytes, a storage, an array of it
DEEPEST = 50  # nested containers; those of published code have three levels
MOST_VALUES = 1_000_000  # values in containers; the labels of all images of COCO are 0.2 million


def read_npy(path: Path) -> Any:
    """Read a .npy file: an array of numbers, or what `numpy.save` pickled, with arrays in place of tensors.

    Raises
    ------
    DataError
        When the file cannot be read, is no .npy file, or names anything but arrays, tensors and plain containers.
    """
    try:
        content = read_bounded(path, LARGEST_ARRAYS)
    except OSError as error:
        raise DataError(f"file cannot be read: {path} ({error.strerror or error})", hint="check the path") from error
    return decode_npy(content, where=str(path))


def decode_npy(content: bytes, *, where: str) -> Any:
    """Decode the bytes of a .npy file; see `read_npy`.

    Parameters
    ----------
    where
        Name of the file, for messages.

    Examples
    --------
    >>> stream = io.BytesIO()
    >>> np.save(stream, {3: np.ones((1, 2), np.float32)}, allow_pickle=True)
    >>> decode_npy(stream.getvalue(), where="a.npy")
    {3: array([[1., 1.]], dtype=float32)}
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = _HEADERS[version](stream)
        if not dtype.hasobject:
            return read_npy_array(content)
        check_pickle(stream)
        found = _Finish()(_Unpickler(stream, _Meter(COPIES * len(content) + LARGEST_DOCUMENT)).load())
    except Exception as error:  # whatever the bytes of a stranger make the reader stumble over
        if isinstance(error, DataError):
            raise DataError(f"{error.message} in {where}", hint=error.hint) from error
        raise DataError(
            f"file cannot be read: {where} ({type(error).__name__}: {error})",
            hint="it must be written by numpy.save: an array, or a dictionary of arrays",
        ) from error
    if not isinstance(found, np.ndarray) or found.shape != shape:
        raise DataError(f"the array within must have the shape {shape} of the header, got another in {where}")
    return found.item() if found.shape == () else found


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class _Meter:
    """Counts the bytes that are made of a pickle, in which a few bytes can name the same content again and again."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, count: int) -> None:
        """Refuse more than there is left."""
        self.left -= count
        if self.left < 0:
            raise pickle.UnpicklingError("it names the same content far too often")


class _Allowed:
    """What a name in a pickle stands for: something to call, which a pickle cannot alter."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function has no state")


def _not_to_be_called(*_: Any) -> Any:
    raise pickle.UnpicklingError("a class is named here only as the argument of another")


class _Dtype:
    """A dtype of plain numbers, text or objects; no other can be made."""

    def __init__(self, name: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(name, str):
            raise pickle.UnpicklingError("the name of a dtype must be text")
        text = name[:1] in ("U", "S") and name[1:].isdecimal() and 0 < int(name[1:]) <= 10_000
        if not (text or name in NPY_DTYPES or name in ("b1", "O8", "O")):
            raise pickle.UnpicklingError(f"arrays must hold numbers, text or objects, got dtype {name[:20]!r}")
        self.name, self.order, self.is_object = name, "=", name.startswith("O")

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|", "=")):
            raise pickle.UnpicklingError("state of a dtype is malformed")
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("arrays must not be structured")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        """The real dtype, in the byte order of the file."""
        return np.dtype(self.name if self.order == "|" else self.order + self.name)


class _Array:
    """An array whose content comes with its state, as `numpy.ndarray.__reduce__` has it."""

    def __init__(self, meter: _Meter) -> None:
        self.meter = meter
        self.shape: tuple[int, ...] = ()
        self.items: list[Any] | None = None
        self.numbers: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state if len(state) == 5 else (1, *state)
        self.fill(shape, dtype, "F" if fortran else "C", data)

    def fill(self, shape: Any, dtype: Any, order: str, data: Any) -> "_Array":
        """Take content of exactly this shape."""
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            raise pickle.UnpicklingError("the shape of an array must be whole numbers")
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("the dtype of an array is malformed")
        self.shape, count = shape, math.prod(shape)
        if dtype.is_object:
            if not isinstance(data, list) or len(data) != count:
                raise pickle.UnpicklingError("an array of objects must come with a list of them")
            self.items = data
            return self
        self.meter.take(len(data) if isinstance(data, str | bytes | bytearray) else 0)
        raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 had no bytes
        real = dtype.numpy()
        if not isinstance(raw, bytes | bytearray) or len(raw) != count * real.itemsize:
            raise pickle.UnpicklingError(f"an array of {count} numbers must come with their bytes")
        numbers = np.frombuffer(raw, real) if count else np.zeros(0, real)
        self.numbers = np.array(numbers.reshape(shape[::-1]).T if order == "F" else numbers.reshape(shape))
        self.numbers = self.numbers.astype(real.newbyteorder("="))
        return self


def _no_bytes() -> bytes:
    return b""


def _ordered_dict(*pairs: Any) -> dict[Any, Any]:
    if pairs:
        raise pickle.UnpicklingError("a dictionary must be filled item by item")
    return {}


class _Makers:
    """What the names in a pickle stand for, all on one meter."""

    def __init__(self, meter: _Meter) -> None:
        self.meter = meter
        table: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): _not_to_be_called,
            ("numpy", "dtype"): _Dtype,
            ("_codecs", "encode"): self.encode,
            ("__builtin__", "bytes"): _no_bytes,  # protocol 2 calls it, without arguments, for no bytes at all
            ("collections", "OrderedDict"): _ordered_dict,
            ("torch._utils", "_rebuild_tensor"): self.tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            ("torch.storage", "_load_from_bytes"): self.storage,
        }
        for core in ("numpy.core", "numpy._core"):  # the name before and since numpy 2
            table[f"{core}.multiarray", "_reconstruct"] = self.array
            table[f"{core}.multiarray", "scalar"] = self.scalar
            table[f"{core}.numeric", "_frombuffer"] = self.from_buffer
        self.allowed = {name: _Allowed(call) for name, call in table.items()}

    def array(self, kind: Any, shape: Any, code: Any) -> _Array:
        return _Array(self.meter)

    def from_buffer(self, data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
        return _Array(self.meter).fill(shape, dtype, "F" if order == "F" else "C", data)

    def scalar(self, dtype: Any, data: Any) -> Any:
        numbers = _Array(self.meter).fill((1,), dtype, "C", data).numbers
        if numbers is None:
            raise pickle.UnpicklingError("a scalar must be a number or text")
        return numbers[0]

    def encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("bytes must be written as latin1")
        self.meter.take(len(text))
        return text.encode("latin1")

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a tensor must come with a storage")
        if isinstance(size, tuple) and all(type(side) is int and side >= 0 for side in size):
            self.meter.take(min(math.prod(size), storage.count) * storage.dtype.itemsize)
        return view_of_storage(storage, offset, size, stride)

    def storage(self, content: Any) -> Storage:
        if isinstance(content, bytes | bytearray):
            self.meter.take(len(content))
        return read_storage(content, lambda stream, storages: _Unpickler(stream, self.meter, storages))


class _Unpickler(pickle.Unpickler):
    """An unpickler to which no name means anything but what `_Makers` allows."""

    def __init__(self, stream: io.BytesIO, meter: _Meter, storages: dict[str, Storage] | None = None) -> None:
        super().__init__(stream, encoding="latin1")
        self.storages = storages
        self.allowed = _Makers(meter).allowed

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """What a name stands for."""
        if self.storages is not None and module_name == "torch" and global_name in STORAGE_TYPES:
            return _StorageType(STORAGE_TYPES[global_name])
        if self.storages is None and (module_name, global_name) in self.allowed:
            return self.allowed[module_name, global_name]
        raise DataError(
            f"a pickle of seeds or labels must hold arrays and plain containers alone, got {module_name}.{global_name}",
            hint="nothing of it was executed; do not load this file with numpy either unless you made it yourself",
        )

    def persistent_load(self, pid: Any, /) -> Any:
        """The storage of a tensor; only the pickle within a tensor may name one."""
        if self.storages is None:
            raise pickle.UnpicklingError("a reference to something outside of the file")
        kind, storage_type, key, _, count, view = pid
        known = isinstance(storage_type, _StorageType) and type(count) is int and isinstance(key, str)
        if kind != "storage" or not known or view is not None:
            raise pickle.UnpicklingError("the storage of a tensor is malformed")
        return self.storages.setdefault(key, Storage(storage_type.dtype, count))


class _StorageType(_Allowed):
    """A name such as `torch.FloatStorage`."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype) -> None:
        super().__init__(_not_to_be_called)
        self.dtype = dtype


class _Finish:
    """Puts real arrays in place of those that the pickle has built; everything else must be plain."""

    def __init__(self) -> None:
        self.left = MOST_VALUES

    def __call__(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if depth > DEEPEST or self.left < 0:  # a few bytes can name one list again and again, within each other
            raise pickle.UnpicklingError("containers are nested too deeply or hold too much")
        if isinstance(value, _Array):
            if value.items is None:
                return np.zeros(value.shape) if value.numbers is None else value.numbers
            array = np.empty(len(value.items), object)
            for index, item in enumerate(value.items):
                array[index] = self(item, depth + 1)
            return array.reshape(value.shape)
        if isinstance(value, dict):
            return {self(key, depth + 1): self(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self(item, depth + 1) for item in value)
        if value is None or isinstance(value, bool | int | float | str | bytes | np.generic | np.ndarray):
            return value
        raise pickle.UnpicklingError(f"a {type(value).__name__.strip('_')} where a value should be")
