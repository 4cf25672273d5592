"""The tuned weights beside a probe: a checkpoint like any other, which `--weights` takes as well."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelgen.errors import RunFolderError
from labelgen.masks import write_atomic
from labelgen.nets.backbones import Backbone
from labelgen.nets.construction import checkpoint_options
from segprobe.features.layout import file_sha256

__all__ = ["TUNED", "check_tuned", "save_tuned"]

TUNED = "backbone.safetensors"


def save_tuned(folder: Path, backbone: Backbone, *, untuned_sha256: str) -> dict[str, str]:
    """Write the weights of a tuned backbone in float32, with what is needed to build the network without its source.

    Parameters
    ----------
    untuned_sha256
        Hash of the weights that the tuning began with.

    Returns
    -------
    dict
        `file`, `sha256` of the file, and `from`, for probe.json.
    """
    from safetensors.torch import save

    source = backbone.config.weights
    about = {
        "model": backbone.spec.name,
        "timm_kwargs": checkpoint_options(Path(source)) if source else {},
        "mean": list(backbone.spec.mean),
        "std": list(backbone.spec.std),
        "names": "timm",
    }
    state = backbone.model.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    content = save(tensors, metadata={"labelgen": json.dumps(about)})
    write_atomic(folder / TUNED, content)
    return {"file": TUNED, "sha256": hashlib.sha256(content).hexdigest(), "from": untuned_sha256}


def check_tuned(folder: Path, tuned: Mapping[str, Any]) -> Path:
    """Path of the tuned weights of a probe.

    Raises
    ------
    RunFolderError
        When they are missing, or others than probe.json describes.
    """
    path = folder / TUNED
    if tuned.get("file") != TUNED or not path.is_file():
        raise RunFolderError(
            f"the backbone of the probe in {folder} was tuned, and its weights must lie in {path.name}; there are none",
            hint="copy the whole folder, or fit again",
        )
    if file_sha256(path) != tuned.get("sha256"):
        raise RunFolderError(
            f"{path.name} must be the file that probe.json describes, got another in {folder}",
            hint="the files of a probe belong together; copy all, or fit again",
        )
    return path
