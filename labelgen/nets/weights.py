"""Where weights come from: a checkpoint file, the cache of the model hub, or the hub itself."""

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch

from labelgen.errors import WeightsError
from labelgen.nets.keymaps import State, recognise, to_timm, unwrap

__all__ = [
    "Checkpoint",
    "fetch_hub",
    "fetch_published",
    "fetch_url",
    "need_network",
    "parameter_hash",
    "published_at_hand",
    "read_checkpoint",
    "read_safetensors",
    "read_torch",
]

PICKLE = b"\x80"  # first byte of what torch.save wrote before it wrote zip archives

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_TIMEOUT = 5.0  # seconds until a hub that does not answer is given up


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
    mean, std = (tuple(about[name]) if name in about else None for name in ("mean", "std"))
    return Checkpoint(path, family, state, about.get("model", ""), dict(about.get("timm_kwargs", {})), mean, std)


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
            about = json.loads((file.metadata() or {}).get("labelgen", "{}"))
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
        if file.read(1) != PICKLE and not zipfile.is_zipfile(path):
            raise WeightsError(
                f"{path} is not a readable torch checkpoint: {path.stat().st_size} bytes, neither a zip archive nor "
                "a pickle",
                hint="was it downloaded whole? files of other kinds need their ending, such as .safetensors",
            )
    try:
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
    return raw


def published_at_hand(name: str) -> Path | None:
    """Path of the published weights of a timm model in the local cache, or None when they must be downloaded.

    Raises
    ------
    WeightsError
        When timm knows no published weights of that name.
    """
    from huggingface_hub import try_to_load_from_cache

    config = _published_config(name)
    if config.hf_hub_id:
        for file in _hub_files(config):
            found = try_to_load_from_cache(config.hf_hub_id, file)
            if isinstance(found, str):
                return Path(found)
        return None
    path = Path(torch.hub.get_dir()) / "checkpoints" / config.url.rsplit("/", 1)[-1]
    return path if path.is_file() else None


def fetch_published(name: str) -> Path:
    """Path of the published weights of a timm model, downloading them if need be.

    Raises
    ------
    WeightsError
        When they are not at hand and the hub cannot be reached or is switched off.
    """
    found = published_at_hand(name)
    if found:
        return found
    config = _published_config(name)
    try:
        from huggingface_hub.constants import ENDPOINT

        need_network(ENDPOINT if config.hf_hub_id else config.url)
        if config.hf_hub_id:
            return fetch_hub(config.hf_hub_id, _hub_files(config))
        return fetch_url(config.url, Path(torch.hub.get_dir()) / "checkpoints")
    except Exception as error:  # the hub's client raises a different type for each way to fail
        where = f"huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
        raise WeightsError(
            f"the weights of {name} are not on this machine and {where} could not be fetched ({type(error).__name__})",
            hint="without network: demo-ssvt needs no download (segprobe fit --backbone demo-ssvt), and segprobe "
            "backbones lists what is here; or fetch a checkpoint elsewhere and name it (--weights FILE; "
            "--proxy-weights FILE in labelgen clip; weights=FILE in a refiner), or put the cached files into "
            f"{_cache_folder(config)}",
        ) from error


def _published_config(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        raise WeightsError(
            f"timm knows no published weights called {name!r}",
            hint="segprobe backbones --all PATTERN lists the names; --weights FILE takes a checkpoint",
        )
    return config


def _hub_files(config: Any) -> tuple[str, ...]:
    return (config.hf_hub_filename, *HUB_FILES) if config.hf_hub_filename else HUB_FILES


def fetch_hub(repository: str, files: Sequence[str], *, cache_dir: str | None = None) -> Path:
    """Download the first of some files that a repository of the model hub has.

    Raises
    ------
    OSError
        When the hub does not answer, or has none of the files.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for file in files:
        try:
            return Path(hf_hub_download(repository, file, cache_dir=cache_dir, etag_timeout=HUB_TIMEOUT))
        except EntryNotFoundError as error:
            if type(error).__name__ == "LocalEntryNotFoundError":  # the hub did not answer: it is not about the file
                raise
    raise FileNotFoundError(repository)


def fetch_url(url: str, folder: Path, *, sha256: str | None = None) -> Path:
    """Download a file into a folder, under its own name.

    Parameters
    ----------
    sha256
        What the digest of the file must begin with.

    Raises
    ------
    OSError
        When the server does not answer.
    RuntimeError
        When the digest is another.
    """
    path = folder / url.rsplit("/", 1)[-1]
    folder.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256, progress=False)
    return path


def need_network(url: str) -> None:
    """Ask once whether the server is there: the clients would retry for half a minute.

    Raises
    ------
    OSError
        When it does not answer in time, or downloads are switched off by `HF_HUB_OFFLINE`.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise ConnectionError("downloads are switched off by HF_HUB_OFFLINE")
    try:
        with urlopen(Request(url, method="HEAD"), timeout=HUB_TIMEOUT):
            pass
    except HTTPError:
        pass  # it answered


def _cache_folder(config: Any) -> Path:
    if not config.hf_hub_id:
        return Path(torch.hub.get_dir()) / "checkpoints"
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


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
