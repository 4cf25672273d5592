"""Published weights of image-text models: what is on this machine, downloads, and what to do where there are none."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelgen.errors import WeightsError
from labelgen.nets.clip.catalogue import megabytes_of
from labelgen.nets.clip.config import DEMO_CLIP
from labelgen.nets.clip.names import base_name, published, quick_name
from labelgen.nets.published import fetch_hub, fetch_url, need_network

__all__ = ["HUB_FILES", "UNKNOWN_LICENCE", "clip_weights_at_hand", "fetch_clip_weights", "licence_of"]

LOG = logging.getLogger(__name__)

HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip's repositories call their weights, best first."""

LICENCES = {
    "openai": "MIT",  # LICENSE of github.com/openai/CLIP
    "laion": "MIT",  # licence field of the model cards, as for those below
    "metaclip": "CC-BY-NC-4.0",
    "siglip": "Apache-2.0",
}
UNKNOWN_LICENCE = "see publisher"


def licence_of(tag: str, entry: Mapping[str, Any]) -> str:
    """Look up who published the weights; where a licence is not known for sure, nothing is claimed."""
    owner = entry.get("hf_hub", "").split("/")[0]
    if tag == "openai":
        return LICENCES["openai"]
    if owner in LICENCES:
        return LICENCES[owner]
    if tag in ("metaclip_400m", "metaclip_fullcc"):
        return LICENCES["metaclip"]
    if tag == "webli" and owner == "timm":
        return LICENCES["siglip"]
    return UNKNOWN_LICENCE


def clip_weights_at_hand(name: str, tag: str, *, cache_dir: str = "") -> Path | None:
    """Path of published weights on this machine, or None when they must be downloaded.

    The cache of the hub is looked through, then the folder where OpenAI's package and open_clip put downloads.

    Raises
    ------
    ConfigError
        When there is no such model or tag.
    WeightsError
        When a file is there whose digest is not the published one.
    """
    from huggingface_hub import try_to_load_from_cache

    entry = published(name, tag)
    repository, files = _hub_files(entry)
    for file in files:
        found = try_to_load_from_cache(repository, file, cache_dir=cache_dir or None)
        if isinstance(found, str):
            return Path(found)
    url = entry.get("url", "")
    path = _download_folder(cache_dir) / url.rsplit("/", 1)[-1]
    if not url or not path.is_file():
        return None
    expected = _digest_in(url)
    if expected and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(expected):
        raise WeightsError(f"{path} is damaged: its SHA-256 is not {expected[:16]}...", hint="delete it and try again")
    return path


def _hub_files(entry: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Repository and file names, best first; an entry without a file name ends in a slash."""
    repository, _, file = entry.get("hf_hub", "").rpartition("/")
    if not repository:
        return "", ()
    if not file:
        return repository, HUB_FILES
    return repository, (f"{Path(file).stem}.safetensors", file)


def _download_folder(cache_dir: str) -> Path:
    return Path(cache_dir) if cache_dir else Path("~/.cache/clip").expanduser()  # as open_clip and OpenAI's package


def _digest_in(url: str) -> str:
    """SHA-256, or its beginning, that some publishers write into their addresses."""
    if "openaipublic" in url:
        return url.split("/")[-2]
    return Path(url).stem.split("-")[-1] if "mlfoundations" in url else ""


def fetch_clip_weights(name: str, tag: str, *, cache_dir: str = "") -> Path:
    """Download published weights, or say what is missing and how to bring it.

    Raises
    ------
    ConfigError
        When there is no such model or tag.
    WeightsError
        When they cannot be fetched.
    """
    entry = published(name, tag)
    repository, files = _hub_files(entry)
    url = entry.get("url", "")
    try:
        if repository:
            from huggingface_hub.constants import ENDPOINT

            need_network(ENDPOINT)
            LOG.info("downloading the weights of %s (%s) from %s", name, tag, repository)
            return fetch_hub(repository, files, cache_dir=cache_dir or None)
        need_network(url)
        LOG.info("downloading the weights of %s (%s) from %s", name, tag, url)
        return fetch_url(url, _download_folder(cache_dir), sha256=_digest_in(url) or None)
    except Exception as error:  # the hub's client raises a different type for each way to fail
        raise _missing(name, tag, repository, files, url, cache_dir, error) from error


def _missing(
    name: str, tag: str, repository: str, files: tuple[str, ...], url: str, cache_dir: str, error: Exception
) -> WeightsError:
    from huggingface_hub.constants import HF_HUB_CACHE

    if repository:
        where = f"huggingface.co/{repository} ({' or '.join(files)})"
        bring = f"on a machine with a network: hf download {repository} {files[0]}, then copy the file"
        folder = cache_dir or HF_HUB_CACHE
    else:
        where, bring, folder = url, f"on a machine with a network: curl -LO {url}, then copy the file", ""
        folder = str(_download_folder(cache_dir))
    megabytes = megabytes_of(base_name(name), tag)
    where += f", {megabytes} MB," if megabytes else ""
    model = quick_name(name) if published(name, tag).get("quick_gelu") else name
    return WeightsError(
        f"the weights of {name} ({tag}) are not in {folder} and {where} could not be fetched ({_reason(error)})",
        hint=f"{bring} here and give it with --model {model} --weights FILE; --model {DEMO_CLIP} needs no download",
    )


def _reason(error: Exception) -> str:
    text = str(error)
    return text if "HF_HUB_OFFLINE" in text and len(text) < 80 else type(error).__name__
