"""Where saliency maps come from, as it is typed: a folder, or a way to make them without any training."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.dataset import DataSpec
from labelgen.data.inputs import InputFile
from labelgen.errors import ConfigError, DataError
from labelgen.nets.backbone_config import DEMO_BACKBONE, REAL_BACKBONE
from labelgen.nets.saliency.folder import FolderSaliency
from labelgen.nets.saliency.ncut import NcutConfig, NcutSaliency
from labelgen.nets.saliency.spectral_residual import SpectralConfig, SpectralSaliency
from labelgen.settings import settings_from_text, split_setting

__all__ = ["PROVIDERS", "SaliencySource", "open_saliency"]

PROVIDERS = ("ncut", "spectral")
"""Ways to make saliency maps from the image alone."""


@runtime_checkable
class SaliencySource(Protocol):
    """Gives the saliency of images; can be pickled."""

    def map(
        self, sample_id: str, image: UInt8[np.ndarray, "H W 3"]
    ) -> tuple[Float32[np.ndarray, "H W"], InputFile | None]:
        """Saliency in [0, 1], and the file that held it if there was one."""
        ...

    def facts(self) -> dict[str, Any]:
        """Where the maps come from, as JSON values.

        `provider`, the settings, for a network `backbone` and `sha256`, and `pixel_supervised`: whether outlines of
        objects were used to make them (None: unknown).
        """
        ...


def open_saliency(text: str, spec: DataSpec, device: str = "auto") -> SaliencySource:
    """Open a source of saliency maps.

    Parameters
    ----------
    text
        A folder with `ID.png` (8-bit grey), `ID.npy` or `ID.npz` (floats in [0, 1]); or `spectral`, `ncut`,
        `ncut:BACKBONE`. Settings stand behind commas, as in `ncut:demo-ssvt,tokens=24`; a folder has one,
        `maps/,pixel_supervised=true` (or false), which says whether its maps come from a network that was trained with
        outlines of objects. A folder whose name holds a comma is itself where it exists. Write `./ncut` for a folder
        of that name.
    spec
        The data, which the network that nobody named follows: demo-ssvt on demo scenes, else a small DINOv2.
    device
        Torch device of the network; auto takes CUDA where there is one.

    Raises
    ------
    ConfigError
        When a setting is unknown or out of range.
    DataError
        When there is neither such a folder nor such a provider.

    Examples
    --------
    >>> source = open_saliency("spectral,side=32", DataSpec("demo"))
    >>> saliency, file = source.map("any", np.zeros((8, 6, 3), np.uint8))
    >>> saliency.shape, file, source.facts()["pixel_supervised"]
    ((8, 6), None, False)
    """
    head, *rest = text.split(",")
    name, colon, argument = head.strip().partition(":")
    if name not in PROVIDERS:
        return _open_folder(text)
    values = dict(split_setting(part) for part in rest)
    if name == "spectral":
        if colon:
            raise ConfigError(f"spectral takes no network, got {argument!r}", hint="ncut:BACKBONE does")
        return SpectralSaliency(settings_from_text(SpectralConfig, values, of="saliency spectral"))
    if colon and not argument:
        raise ConfigError(f"{text!r} ends before the backbone", hint="write ncut:BACKBONE")
    values = {"backbone": argument, **values} if colon else values
    config = settings_from_text(NcutConfig, values, of="saliency ncut")
    if not (config.backbone or config.weights):
        config = dataclasses.replace(config, backbone=DEMO_BACKBONE if spec.kind == "demo" else REAL_BACKBONE)
    return NcutSaliency(config, device)


@dataclass(frozen=True)
class _FolderSettings:
    """What is typed behind a folder."""

    pixel_supervised: bool | None = None


def _open_folder(text: str) -> FolderSaliency:
    parts = text.split(",")
    for count in range(len(parts), 0, -1):  # a folder whose name holds a comma comes first
        folder = Path(",".join(parts[:count])).expanduser()
        if parts[0].strip() and folder.is_dir():
            break
    else:
        raise DataError(
            f"saliency maps must come from a folder or from {' or '.join(PROVIDERS)}, got {text!r}",
            hint="a folder with ID.png, or `labelgen saliency` to write one",
        )
    values = dict(split_setting(part) for part in parts[count:])
    said = settings_from_text(_FolderSettings, values, of="a folder of saliency maps").pixel_supervised
    return FolderSaliency(folder, said)
