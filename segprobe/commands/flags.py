"""Flags that several commands of segprobe share, and the choice of what was not typed."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labelgen.commands.common import ImageFlags
from labelgen.data.dataset import Dataset, DataSpec
from labelgen.errors import ConfigError, SplitError
from labelgen.nets.backbone_config import DEMO_BACKBONE, REAL_BACKBONE, BackboneConfig

__all__ = ["BackboneFlags", "DryRunFlag", "ProbeFlags", "evaluation_data"]

log = logging.getLogger(__name__)

DryRunFlag = Annotated[
    bool, Parameter(negative="", help="Try a little of it to say what all would take in time and disk; write nothing.")
]


@dataclass(frozen=True, kw_only=True)
class BackboneFlags:
    """The frozen backbone.

    Parameters
    ----------
    backbone
        demo-ssvt, or a timm model. Default: what --weights names, demo-ssvt on the demo data, else a small DINOv2.
    weights
        Checkpoint file (.safetensors, .pth). Default: the published weights.
    layers
        Blocks or stages to concatenate, as 2,5,-1; negative ones count from the end. Default: the last; with --head
        multi the last four. The decoder of a --baseline chooses its own.
    norm
        Apply the final norm of the model.
    policy
        How images are sized: keep (short side to --size), square (both sides), native (not at all).
    size
        Short side in pixels; 0 for the model's own.
    max_size
        Limit of the long side; 0 for twice the size.
    pos_interp
        How positions are resampled to other grids: timm or official.
    dtype
        Arithmetic of the backbone: auto, float32, bfloat16 or float16.
    output_stride
        CNNs: replace stride by dilation down to this output stride; 0 leaves it.
    """

    backbone: str = ""
    weights: str = ""
    layers: Annotated[str, Parameter(allow_leading_hyphen=True)] = ""
    norm: bool = True
    policy: str = "keep"
    size: int = 0
    max_size: int = 0
    pos_interp: str = "timm"
    dtype: str = "auto"
    output_stride: int = 0

    def config(self, data: DataSpec, *, layers: tuple[int, ...] = (-1,)) -> BackboneConfig:
        """The backbone for these data, with these layers where none were typed."""
        for name, value, known in (
            ("policy", self.policy, ("keep", "square", "native")),
            ("pos-interp", self.pos_interp, ("timm", "official")),
            ("dtype", self.dtype, ("auto", "float32", "bfloat16", "float16")),
        ):
            if value not in known:
                raise ConfigError(f"--{name} must be one of {', '.join(known)}, got {value!r}")
        return BackboneConfig(
            name=self.backbone or self._default_name(data),
            weights=self.weights,
            layers=parse_layers(self.layers) if self.layers else layers,
            norm=self.norm,
            policy=self.policy,  # type: ignore[arg-type]
            size=self.size,
            max_size=self.max_size,
            pos_interp=self.pos_interp,  # type: ignore[arg-type]
            dtype=self.dtype,  # type: ignore[arg-type]
            output_stride=self.output_stride,
        )

    def _default_name(self, data: DataSpec) -> str:
        if self.weights:
            return ""  # the checkpoint names its own
        return DEMO_BACKBONE if data.kind == "demo" else REAL_BACKBONE


def parse_layers(text: str) -> tuple[int, ...]:
    """Read a list of layers.

    Raises
    ------
    ConfigError
        When it is anything but whole numbers between commas.

    Examples
    --------
    >>> parse_layers("5,-1")
    (5, -1)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--layers must be whole numbers between commas, got {text!r}", hint="--layers=2,5,-1"
        ) from None


@dataclass(frozen=True, kw_only=True)
class ProbeFlags(ImageFlags):
    """Which images a probe looks at, and where it runs.

    Parameters
    ----------
    split
        Part of the data set. Default: val, or all images where the data have no such split.
    device
        cpu, cuda, or auto for a GPU where there is one.
    weights
        Where the checkpoint of the backbone lies now, if it was moved.
    """

    split: str = ""
    device: str = "auto"
    weights: str = ""


def evaluation_data(
    data: str, flags: ImageFlags, trained_on: DataSpec | None, classes: tuple[str, ...] = ()
) -> Dataset:
    """The data of `eval` and `predict`: those that were typed, else the probe's own; the val split where there is one.

    Parameters
    ----------
    classes
        Names by id, for a folder of pictures that does not name its classes: those of the probe.

    Raises
    ------
    ConfigError
        When nothing was typed and the probe does not know its data.
    SplitError
        When a split was typed that does not exist.
    """
    if flags.split:
        return _open_part(data, flags.split, flags, trained_on, classes)
    try:
        return _open_part(data, "val", flags, trained_on, classes)
    except SplitError:
        dataset = _open_part(data, "", flags, trained_on, classes)
    spec = dataset.spec
    part = f"its split {spec.split}" if spec.split else "all of its images"
    seen = trained_on is not None and (trained_on.kind, trained_on.root, trained_on.split) == (
        spec.kind,
        spec.root,
        spec.split,
    )
    note = ", on which this probe was trained" if seen else ""
    log.warning("%s has no val split: using %s (%d)%s", spec.root, part, len(dataset.ids), note)
    return dataset


def _open_part(
    data: str, split: str, flags: ImageFlags, trained_on: DataSpec | None, classes: tuple[str, ...]
) -> Dataset:
    from labelgen.data.open import open_data, parse_source, reopen

    if data:
        vocabulary = trained_on.vocabulary if trained_on else ""
        plain = not any(mark in name for name in classes for mark in ",;=")
        if not vocabulary and classes and plain and parse_source(data)[0] == "images":
            vocabulary = f"classes:{', '.join(classes)}"
        return open_data(data, split=split, vocabulary=vocabulary, ids_file=flags.ids, limit=flags.limit)
    if trained_on is None:
        raise ConfigError("the probe does not say which data it was trained on", hint="name the data: --data DATA")
    file = str(Path(flags.ids).resolve()) if flags.ids else ""
    return reopen(replace(trained_on, split=split, ids_file=file, limit=flags.limit))
