"""Weights in files: checkpoints, read without executing anything in them, and the hash that weights are known by."""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from labelgen.errors import WeightsError
from labelgen.nets.keymaps import State, recognise, to_timm, unwrap
from labelgen.untrusted import LARGEST_DOCUMENT, check_zip, is_zip, parse_json

__all__ = ["Checkpoint", "options_in", "parameter_hash", "read_checkpoint", "read_safetensors", "read_torch"]

PICKLE = b"\x80"  # first byte of what torch.save wrote before it wrote zip archives

DEEPEST = 20  # tables within each other
FOR_THE_BUILDER = frozenset({"pretrained", "checkpoint_path", "cache_dir", "model_name", "scriptable", "exportable"})
"""What timm's `create_model` takes for itself: among them a file that it would unpickle."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights from a file, in timm's names.

    Parameters
    ----------
    path
        The file.
    family
        Which key family it was recognised as.
    state
        Tensors by timm name.
    model
        Model name the file gives for itself; may be empty.
    timm_kwargs
        Arguments of the architecture the file asks for.
    mean, std
        Normalisation the file asks for, or None.
    """

    path: Path
    family: str
    state: State
    model: str
    timm_kwargs: Mapping[str, Any]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors`, `.pth`, `.pt`, `.bin` or `.tar` checkpoint without executing anything in it.

    A safetensors file may carry a metadata entry `labelgen` with JSON `{"model", "timm_kwargs", "mean", "std"}`, and
    `"names": "timm"` when its names are those of the model and every tensor belongs to it.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or would run code when loaded.
    """
    if not path.is_file():
        raise WeightsError(f"the weights file must exist, got {path}", hint="give the path of a checkpoint")
    raw, about = read_safetensors(path) if path.suffix == ".safetensors" else (read_torch(path), {})
    try:
        state = unwrap(raw)
        family = "own" if about.get("names") == "timm" else recognise(state)
        state = to_timm(state, family) if family != "own" else state
    except (WeightsError, KeyError) as error:
        raise WeightsError(
            f"no backbone could be read from {path}: {error}", hint="it must hold the weights of a ViT or CNN by name"
        ) from error
    mean, std = (_colour_of(about[name], path) if name in about else None for name in ("mean", "std"))
    return Checkpoint(path, family, state, str(about.get("model", "")), options_in(about, path), mean, std)


def options_in(about: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of the architecture that a file asks for: plain numbers and words, and no other file.

    Raises
    ------
    WeightsError
        When they are anything else.
    """
    options = about.get("timm_kwargs", {})
    if not isinstance(options, dict):
        raise WeightsError(f"timm_kwargs must be a table, got {type(options).__name__} in {path}")
    for name, value in options.items():
        parts = value if isinstance(value, list) else [value]
        plain = all(part is None or isinstance(part, bool | int | float | str) for part in parts)
        if name in FOR_THE_BUILDER or name.startswith("pretrained") or not plain:
            raise WeightsError(
                f"timm_kwargs may say how a network is built, not where it is read from, got {name!r} in {path}",
                hint="remove it from the metadata of the file",
            )
    return dict(options)


def _colour_of(value: Any, path: Path) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
        raise WeightsError(f"mean and std must be three numbers, got {str(value)[:60]} in {path}")
    return tuple(value)


def read_safetensors(path: Path) -> tuple[Mapping[str, object], dict[str, Any]]:
    """Tensors of a safetensors file by name, and the JSON of its metadata entry `labelgen`, if any.

    Raises
    ------
    WeightsError
        When the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            about = parse_json((file.metadata() or {}).get("labelgen", "{}"))
            if not isinstance(about, dict):
                raise ValueError("its metadata must hold a JSON object")
            return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file: {error}", hint="was it downloaded whole?"
        ) from error


def read_torch(path: Path) -> Mapping[str, object]:
    """Content of a file written by `torch.save`, of which only tensors and plain containers are read.

    Raises
    ------
    WeightsError
        When the file is damaged, is no dict, or would run code when loaded.
    """
    with path.open("rb") as file:
        if file.read(1) != PICKLE and not is_zip(path):
            raise WeightsError(
                f"{path} is not a readable torch checkpoint: {path.stat().st_size} bytes, neither a zip archive nor "
                "a pickle",
                hint="was it downloaded whole? files of other kinds need their ending, such as .safetensors",
            )
    try:
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                check_zip(archive, largest=path.stat().st_size + LARGEST_DOCUMENT)  # torch.save does not compress
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects that would run code when loaded; only tensors are read",
            hint="save model.state_dict() alone with safetensors on a machine where you trust the file",
        ) from error
    except Exception as error:  # damaged files raise a different type for each way to be damaged
        raise WeightsError(
            f"{path} is not a readable torch checkpoint: {type(error).__name__} {error}",
            hint="was it downloaded whole?",
        ) from error
    if not isinstance(raw, Mapping):
        raise WeightsError(f"a checkpoint must be a dict of tensors, got {type(raw).__name__} in {path}")
    _refuse_repeated(raw, path)
    return raw


def _refuse_repeated(value: object, path: Path, depth: int = 0) -> None:
    """Refuse tensors that show few numbers again and again, which a copy would unfold to any size."""
    if isinstance(value, Mapping):
        if depth > DEEPEST:
            raise WeightsError(f"a checkpoint must not hold tables within tables without end, got such in {path}")
        for part in value.values():
            _refuse_repeated(part, path, depth + 1)
    elif isinstance(value, torch.Tensor):
        is_plain = value.layout == torch.strided and not value.is_quantized
        if not is_plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise WeightsError(
                f"a tensor must be plain, with as many numbers as its storage, got {tuple(value.shape)} in {path}",
                hint="save it with .contiguous()",
            )


def parameter_hash(module: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers.

    Examples
    --------
    >>> layer = torch.nn.Linear(2, 1)
    >>> before = parameter_hash(layer)
    >>> _ = layer.bias.data.add_(1)
    >>> before == parameter_hash(layer)
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted([*module.named_parameters(), *module.named_buffers()]):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
