"""Weights out of a TorchScript archive without running it: `torch.jit.load` calls the `__setstate__` of its classes.

Such a method may write any file, as `torch.save` is among what TorchScript can call. Here the archive is a zip of
numbers and one pickle that says where each belongs; the pickle can name modules and tensors and nothing else, and of
the program only the lists of parameters and buffers are read, as text.
"""

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from labelgen.errors import WeightsError
from labelgen.untrusted import LARGEST_DOCUMENT, check_pickle, check_zip

__all__ = ["is_script_archive", "read_script_archive"]

STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
DEEPEST = 50  # modules within modules; those of OpenAI have seven levels
PROGRAM = "__torch__"  # what the names of all classes of the program begin with


def is_script_archive(path: Path) -> bool:
    """Whether a file is a zip archive that holds a program."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def read_script_archive(path: Path) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a TorchScript archive, by name.

    Raises
    ------
    WeightsError
        When it is damaged, or its pickle names anything but modules and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            largest = path.stat().st_size + LARGEST_DOCUMENT  # tensors are not compressed
            check_zip(archive, largest=largest)
            reader = _Reader(archive, largest)
            root = reader.read()
            return dict(_tensors(root, reader))
    except WeightsError as error:
        raise WeightsError(f"{error.message} in {path}", hint=error.hint) from error
    except Exception as error:  # whatever the bytes of a stranger make the reader stumble over
        raise WeightsError(
            f"{path} is not a readable TorchScript archive: {type(error).__name__} {error}",
            hint="was it downloaded whole?",
        ) from error


class _Module:
    """A module of the program: its attributes, with the name of its class where that was said."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise WeightsError("a module must be a table of its attributes", hint=_HINT)
        self.attributes = state


class _Reader:
    """Reads the pickle and the numbers of one archive."""

    def __init__(self, archive: zipfile.ZipFile, most_bytes: int) -> None:
        self.archive = archive
        self.left = most_bytes
        self.root = archive.namelist()[0].split("/")[0]
        self.classes: dict[str, type[_Module]] = {}
        self.storages: dict[str, torch.Tensor] = {}

    def read(self) -> Any:
        """The module that the archive holds."""
        names = set(self.archive.namelist())
        order = self.archive.read(f"{self.root}/byteorder") if f"{self.root}/byteorder" in names else b"little"
        if order != b"little":
            raise WeightsError(f"the numbers must be little-endian, got {order[:10]!r}", hint=_HINT)
        stream = io.BytesIO(self.archive.read(f"{self.root}/data.pkl"))
        check_pickle(stream)
        return _Unpickler(stream, self).load()

    def module(self, name: str) -> type[_Module]:
        """A class of its own for each of the program, so that they can be told apart."""
        return self.classes.setdefault(name, type(name, (_Module,), {}))

    def storage(self, key: str, dtype: torch.dtype) -> torch.Tensor:
        """The numbers of one file of the archive."""
        if key not in self.storages:
            raw = bytearray(self.archive.read(f"{self.root}/data/{key}"))
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.zeros(0, dtype=dtype)
        found = self.storages[key]
        return found if found.dtype == dtype else found.view(dtype)

    def tensor(self, storage: Any, *facts: Any) -> torch.Tensor:
        """A part of the numbers; many tensors of the same numbers could take any memory."""
        found = _tensor(storage, *facts)
        self.left -= found.nbytes
        if self.left < 0:
            raise WeightsError("it names the same numbers far too often", hint=_HINT)
        return found.clone()

    def listed(self, name: str) -> frozenset[str] | None:
        """Names of the parameters and buffers of a class, as its program lists them; None where it does not."""
        module, _, short = name.rpartition(".")
        file = f"{self.root}/code/{module.replace('.', '/')}.py"
        if file not in self.archive.namelist():
            return None
        text = self.archive.read(file).decode("utf-8", errors="replace")
        found = re.search(
            rf"class {re.escape(short)}\(Module\):\s+__parameters__ = \[(.*?)\]\s+__buffers__ = \[(.*?)\]", text, re.S
        )
        return None if found is None else frozenset(re.findall(r'"([^"]*)"', found[1] + found[2]))


_HINT = "nothing of it was executed; save the state dict of the model with safetensors where you trust the file"


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows modules and tensors only."""

    def __init__(self, stream: io.BytesIO, reader: _Reader) -> None:
        super().__init__(stream)
        self.reader = reader

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """What a name stands for."""
        if module_name.split(".")[0] == PROGRAM:
            return self.reader.module(f"{module_name}.{global_name}")
        if module_name == "torch" and global_name in STORAGES:
            return STORAGES[global_name]
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.reader.tensor
        if (module_name, global_name) == ("torch.jit._pickle", "build_intlist"):
            return _whole_numbers
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise WeightsError(f"only modules and tensors are read, got {module_name}.{global_name}", hint=_HINT)

    def persistent_load(self, pid: Any, /) -> Any:
        """The numbers that a tensor is a part of."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise WeightsError("the storage of a tensor is malformed", hint=_HINT)
        found = self.reader.storage(key, dtype)
        if found.numel() != count:
            raise WeightsError(f"a storage must hold {count} numbers, got {found.numel()}", hint=_HINT)
        return found


def _whole_numbers(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise WeightsError("a list of whole numbers is malformed", hint=_HINT)
    return values


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.Tensor) or not all(type(n) is int and n >= 0 for n in numbers):
        raise WeightsError("a tensor is malformed", hint=_HINT)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.numel() or (math.prod(size) and last >= storage.numel()):
        raise WeightsError(f"a tensor of size {size} must lie within its {storage.numel()} numbers", hint=_HINT)
    if not math.prod(size):
        return torch.zeros(size, dtype=storage.dtype)
    return torch.as_strided(storage, size, stride, offset)


def _tensors(module: Any, reader: _Reader, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(module, _Module) or depth > DEEPEST:
        raise WeightsError("the archive must hold a module of modules", hint=_HINT)
    listed = reader.listed(type(module).__name__)
    for name, value in module.attributes.items():
        if isinstance(value, torch.Tensor) and (listed is None or name in listed):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, reader, f"{prefix}{name}.", depth + 1)
