"""Published weights: from the cache of the model hub, or from the hub itself."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch

from labelgen.errors import WeightsError

__all__ = ["fetch_hub", "fetch_published", "fetch_url", "need_network", "published_at_hand"]

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_TIMEOUT = 5.0  # seconds until a hub that does not answer is given up


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
