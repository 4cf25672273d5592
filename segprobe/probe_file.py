"""The probe on disk: a head of about a megabyte, and all that must be known to use it.

::

    probes/<name>/
      probe.safetensors     the tensors of the head, float32: matrices, biases, mean and std of the features
      probe.json            schema, head, classes, the backbone it needs (settings, fingerprint, sha256 of its weights),
                            data, labels, settings and figures of the fit, package versions
      backbone.safetensors  only where the backbone was tuned: its weights, float32
      fit.json              settings of the fit and its state: running | complete
      metrics.jsonl         loss and learning rate along the way
      last.pt               checkpoint of an unfinished fit
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from labelgen.data.dataset import DataSpec
from labelgen.errors import RunFolderError, WeightsError
from labelgen.masks import write_atomic
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.store.header import versions
from labelgen.untrusted import parse_json, read_bounded
from labelgen.vocab import Vocabulary, vocabulary_from_json
from segprobe.head_settings import HEAD_SETTINGS, HeadChoice
from segprobe.heads import HEADS, Head, load_head_state, make_head
from segprobe.tuning.weights_file import check_tuned

__all__ = ["Probe", "check_backbone", "newest_probe", "open_probe", "save_probe"]

log = logging.getLogger(__name__)

SCHEMA = 1
FORMAT = "segprobe-probe"
TENSORS = "probe.safetensors"
DESCRIPTION = "probe.json"
PACKAGES = ("torch", "timm", "numpy", "safetensors")
FIELDS: dict[str, type] = {
    "head": dict,
    "class_ids": list,
    "vocabulary": dict,
    "backbone": dict,
    "fingerprint": dict,
    "labels": dict,
    "data": dict,
    "config": dict,
    "figures": dict,
    "tensors_sha256": str,
}


@dataclass(frozen=True)
class Probe:
    """A trained head and what it needs.

    Parameters
    ----------
    head
        Module from tokens to logits, in eval mode.
    kind, settings
        Its row of `HEADS` and its settings.
    class_ids
        Vocabulary id of each logit: the classes that were in the labels.
    vocabulary
        Meaning of the ids.
    backbone
        Settings of the backbone.
    fingerprint
        Everything about the backbone that changes a feature; holds `weights_sha256`.
    labels
        Name, coverage and digest of the labels, and the rule for missing background.
    data
        The data it was trained on, or None when that cannot be opened again.
    config
        Settings of the fit.
    figures
        Steps, seconds, last loss.
    name
        Name of the folder.
    tuned
        Where the backbone was tuned: file and sha256 of its weights, and `from`, the hash of those it began with.
    """

    head: Head
    kind: str
    class_ids: tuple[int, ...]
    vocabulary: Vocabulary
    backbone: BackboneConfig
    fingerprint: Mapping[str, Any]
    labels: Mapping[str, Any]
    data: DataSpec | None
    config: Mapping[str, Any]
    figures: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    tuned: Mapping[str, Any] = field(default_factory=dict)


def save_probe(folder: Path, probe: Probe) -> None:
    """Write a probe; probe.json comes last, so that whoever finds it finds a whole probe."""
    from safetensors.torch import save

    tensors = {name: _as_saved(tensor) for name, tensor in probe.head.state_dict().items()}
    content = save(tensors)
    description = {
        "format": FORMAT,
        "schema": SCHEMA,
        "head": {"kind": probe.kind, "settings": dict(probe.settings), "dim": len(tensors["mean"])},
        "class_ids": list(probe.class_ids),
        "vocabulary": probe.vocabulary.to_json(),
        "backbone": probe.backbone.to_json(),
        "fingerprint": dict(probe.fingerprint),
        "labels": dict(probe.labels),
        "data": probe.data.to_json() if probe.data else {},
        "config": dict(probe.config),
        "figures": dict(probe.figures),
        "versions": versions(PACKAGES),
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
        **({"tuned": dict(probe.tuned)} if probe.tuned else {}),
    }
    write_atomic(folder / TENSORS, content)
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(folder / DESCRIPTION, text.encode())


def _as_saved(tensor: Tensor) -> Tensor:
    """float32, but a bank of tokens stays in float16."""
    import torch

    kept = tensor.detach().cpu().contiguous()
    return kept if kept.dtype == torch.float16 else kept.float()


def open_probe(path: Path | str) -> Probe:
    """Read a probe back, from its folder or from one of its two files.

    Raises
    ------
    RunFolderError
        When it is missing, unfinished, damaged, of an unknown schema, or its two files do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = Path(path)
    if folder.name in (TENSORS, DESCRIPTION):
        folder = folder.parent
    values = _read_description(folder)
    try:
        content = (folder / TENSORS).read_bytes()
        state = load(content)
    except (OSError, SafetensorError) as error:
        raise RunFolderError(f"probe cannot be read: {folder / TENSORS} ({error})", hint="fit it again") from error
    if hashlib.sha256(content).hexdigest() != values["tensors_sha256"]:
        raise RunFolderError(
            f"{TENSORS} must be the file that {DESCRIPTION} describes, got another in {folder}",
            hint="the two files belong together; copy both, or fit again",
        )
    where = str(folder / DESCRIPTION)
    tuned = values.get("tuned", {})
    own_weights = {"weights": str(check_tuned(folder, tuned).resolve())} if tuned else {}
    try:
        return Probe(
            head=_rebuild_head(values, state, where=where),
            kind=values["head"]["kind"],
            settings=_head_settings(values["head"]),
            class_ids=tuple(int(i) for i in values["class_ids"]),
            vocabulary=vocabulary_from_json(values["vocabulary"], where=where),
            backbone=BackboneConfig(
                **{**values["backbone"], "layers": tuple(values["backbone"]["layers"]), **own_weights}
            ),
            fingerprint=values["fingerprint"],
            labels=values["labels"],
            data=DataSpec(**values["data"]) if values["data"] else None,
            config=values["config"],
            figures=values["figures"],
            name=folder.resolve().name,
            tuned=tuned,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunFolderError(f"probe is malformed in {where}: {error!r}", hint="fit it again") from error


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        values = parse_json(read_bounded(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        unfinished = (folder / "fit.json").is_file()
        raise RunFolderError(
            f"the fit in {folder} is not finished" if unfinished else f"no probe (no {DESCRIPTION}) in {folder}",
            hint="give the same `segprobe fit` command again" if unfinished else "make one: segprobe fit",
        ) from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"probe cannot be read: {path} ({error})", hint="fit it again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise RunFolderError(f"{DESCRIPTION} must have the format {FORMAT!r}, got another in {folder}")
    if values.get("schema") != SCHEMA:
        raise RunFolderError(
            f"{DESCRIPTION} must have schema {SCHEMA}, got {values.get('schema')!r} in {folder}",
            hint="it was written by another version of segprobe",
        )
    for name, kind in FIELDS.items():
        if not isinstance(values.get(name), kind):
            raise RunFolderError(f"probe is malformed: {name} is {values.get(name)!r} in {path}", hint="fit it again")
    return values


def _head_settings(described: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a head; probes of before they had any say only how wide an mlp is."""
    if "settings" in described:
        return dict(described["settings"])
    return {"hidden": int(described["hidden"])} if described["kind"] == "mlp" else {}


def _rebuild_head(values: Mapping[str, Any], state: dict[str, Tensor], *, where: str) -> Head:
    import torch

    described = values["head"]
    if described["kind"] not in HEADS:
        raise RunFolderError(f"unknown head {described['kind']!r} in {where}", hint=f"known heads: {', '.join(HEADS)}")
    dim = int(described["dim"])
    if "mean" not in state or tuple(state["mean"].shape) != (dim,):  # before anything of this size is made
        raise RunFolderError(f"the head must have {dim} features, got another number of means in {where}")
    choice = HeadChoice(described["kind"], HEAD_SETTINGS[described["kind"]](**_head_settings(described)))
    head = make_head(choice, torch.zeros(dim), torch.ones(dim), num_classes=len(values["class_ids"]))
    return load_head_state(head, state, where=where).eval()


def check_backbone(probe: Probe, fingerprint: Mapping[str, Any]) -> None:
    """Refuse a backbone whose features are not those that the head was trained on.

    Another arithmetic (`dtype`), which other machines may need, changes only the last bits; it is let through with a
    warning.

    Raises
    ------
    WeightsError
        Naming what differs; other weights are named first.
    """
    wanted, got = probe.fingerprint, fingerprint
    if wanted.get("weights_sha256") != got.get("weights_sha256"):
        raise WeightsError(
            f"the probe {probe.name or 'given'} needs {probe.backbone.name} with weights of sha256"
            f" {str(wanted.get('weights_sha256'))[:12]}, got {str(got.get('weights_sha256'))[:12]}",
            hint="give the checkpoint that it was trained with by --weights, or fit again",
        )
    keys = sorted(key for key in {*wanted, *got} if wanted.get(key) != got.get(key))
    if keys == ["dtype"]:
        log.warning("the probe was trained on %s features and now sees %s ones", wanted["dtype"], got["dtype"])
    elif keys:
        raise WeightsError(
            f"the probe {probe.name or 'given'} was trained on other features: {', '.join(keys)} differ, first"
            f" {wanted.get(keys[0])!r} there and {got.get(keys[0])!r} now",
            hint="use the settings kept in probe.json, or fit again",
        )


def newest_probe(root: Path = Path("probes")) -> Path:
    """The finished probe below `root` whose probe.json is the youngest.

    Raises
    ------
    RunFolderError
        When there is none.
    """
    found = sorted(root.glob(f"*/{DESCRIPTION}"), key=lambda p: (p.stat().st_mtime_ns, p.parent.name))
    if not found:
        raise RunFolderError(f"no probe below {root}", hint="make one: segprobe fit")
    return found[-1].parent
