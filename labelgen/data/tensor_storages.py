"""Storages of torch tensors inside pickles, read with numpy alone: torch would execute what they name."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgen.errors import DataError
from labelgen.untrusted import check_pickle

__all__ = ["STORAGE_TYPES", "Storage", "read_storage", "view_of_storage"]

STORAGE_TYPES = {
    "HalfStorage": np.dtype("<f2"),
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "ShortStorage": np.dtype("<i2"),
    "IntStorage": np.dtype("<i4"),
    "LongStorage": np.dtype("<i8"),
    "BoolStorage": np.dtype("?"),
}
"""Names in torch, and how the numbers lie in the file."""

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
PROTOCOL = 1001  # torch.serialization.PROTOCOL_VERSION
COUNT_BYTES = 8  # the number of elements before them, little-endian
MOST_AXES = 8


@dataclass(eq=False)
class Storage:
    """The memory of tensors: numbers in a row.

    Parameters
    ----------
    dtype
        Of the numbers.
    count
        How many the pickle announces.
    numbers
        They; None until they are read.
    """

    dtype: np.dtype
    count: int
    numbers: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        raise DataError("the storage of a tensor is malformed")


def read_storage(content: Any, unpickler: Callable[..., Any]) -> Storage:
    """Read what `torch.save` writes of one storage in its format before torch 1.6, which pickled tensors still hold.

    Five pickles (magic number, protocol, facts about the system, the storage by name, the names) and then, for each
    name, a count and the numbers.

    Parameters
    ----------
    unpickler
        Makes a safe unpickler of a stream and a table of storages.

    Raises
    ------
    DataError
        When it is anything else.
    """
    if not isinstance(content, bytes | bytearray):
        raise DataError("the storage of a tensor must be bytes")
    stream, storages = io.BytesIO(content), {}

    def load() -> Any:
        check_pickle(stream)
        return unpickler(stream, storages).load()

    if load() != MAGIC or load() != PROTOCOL:
        raise DataError("the storage of a tensor must be in the format of torch.save before torch 1.6")
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise DataError("the storage of a tensor must be little-endian")
    storage, names = load(), load()
    if not isinstance(storage, Storage) or names != list(storages) or len(storages) != 1:
        raise DataError("the storage of a tensor is malformed")
    count = int.from_bytes(stream.read(COUNT_BYTES), "little")
    raw = stream.read()
    if count != storage.count or len(raw) != count * storage.dtype.itemsize:
        raise DataError(f"the storage of a tensor must hold {storage.count} numbers, got {len(raw)} bytes")
    storage.numbers = np.frombuffer(raw, storage.dtype)
    return storage


def view_of_storage(storage: Storage, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """A copy of the part of a storage that is one tensor.

    Raises
    ------
    DataError
        When the tensor reaches beyond its storage, or repeats it.

    Examples
    --------
    >>> storage = Storage(np.dtype("<i8"), 6, np.arange(6))
    >>> view_of_storage(storage, 1, (2, 2), (3, 1))
    array([[1, 2],
           [4, 5]])
    """
    if storage.numbers is None:
        raise DataError("the storage of a tensor was named before it was read")
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (-1,)
    if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride) or len(size) > MOST_AXES:
        raise DataError("the size and stride of a tensor must be whole numbers")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.count or (math.prod(size) and last >= storage.count):
        raise DataError(f"a tensor of size {size} must lie within its storage of {storage.count} numbers")
    if not math.prod(size):
        return np.zeros(size, storage.dtype)
    item = storage.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(storage.numbers[offset:], size, [step * item for step in stride])
    return view.astype(storage.dtype.newbyteorder("="))
