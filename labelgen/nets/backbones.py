"""Frozen backbones: an image in, a grid of tokens out, and a record of everything that changes their values."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from labelgen.errors import ShapeError
from labelgen.nets.architectures import Architecture
from labelgen.nets.backbone_config import DEMO_BACKBONE, REAL_BACKBONE, BackboneConfig
from labelgen.nets.construction import build_architecture
from labelgen.nets.device import resolve_device
from labelgen.nets.geometry import Geometry, fitted_size, geometry_for, resize_image
from labelgen.nets.precision import choose_dtype, mean_cosine
from labelgen.nets.weights import parameter_hash

__all__ = [
    "DEMO_BACKBONE",
    "REAL_BACKBONE",
    "Backbone",
    "BackboneConfig",
    "BackboneSpec",
    "freeze",
    "load_backbone",
    "parameter_hash",
]

SCHEMA = 1
"""Raised when the code below changes the value of a token."""


@dataclass(frozen=True)
class BackboneSpec:
    """What a loaded backbone is.

    Parameters
    ----------
    name
        As in `BackboneConfig`.
    family
        `vit` (columnar transformers) or `cnn` (anything with stages of falling resolution).
    stride
        Side of one token in pixels: the patch of a ViT, the finest requested stage of a CNN.
    multiple
        Images are padded to multiples of this.
    dim
        Channels of a token, all layers concatenated.
    depth
        Blocks or stages of the model.
    prefix
        Class and register tokens, which are left out of the grid.
    mean, std
        Normalisation of RGB in [0, 1].
    native_size
        Side in pixels the model was trained at.
    licence
        Of the weights, as their publisher states it.
    weights_sha256
        `parameter_hash` of the model as loaded, in float32.
    weights_from
        `published`, `shipped`, `file:<name>` or `random:seed<n>`.
    """

    name: str
    family: str
    stride: int
    multiple: int
    dim: int
    depth: int
    prefix: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    native_size: int
    licence: str
    weights_sha256: str
    weights_from: str


class Backbone:
    """A frozen network in eval mode; make one with `load_backbone`.

    Parameters
    ----------
    spec
        What it is.
    config
        What was asked for, with name, sizes, layers and arithmetic resolved: loading it again, on any machine, gives
        the same fingerprint.
    architecture
        The network and how to read tokens from it.
    dtype
        Of the arithmetic.
    """

    def __init__(
        self, spec: BackboneSpec, config: BackboneConfig, architecture: Architecture, dtype: torch.dtype
    ) -> None:
        self.spec = spec
        self.config = config
        self.model = architecture.model
        self.dtype = dtype
        self._architecture = architecture

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def prepare(
        self, image: UInt8[np.ndarray, "H W 3"], *, scale: float = 1.0, flip: bool = False
    ) -> tuple[Float32[torch.Tensor, "channels height width"], Geometry]:
        """Resize, mirror, normalise and pad one image.

        Zeros are padded after normalising, evenly on both sides (one more below and right when odd).

        Parameters
        ----------
        scale
            Factor on the size that the policy asks for.
        flip
            Mirror left to right.

        Returns
        -------
        tuple
            The picture for `tokens` (after stacking) and where its pixels went.

        Raises
        ------
        ShapeError
            When the image is not RGB, or empty.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ShapeError(f"an image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        geometry = self.geometry((image.shape[0], image.shape[1]), scale=scale, flip=flip)
        return self.picture(image, geometry), geometry

    def geometry(self, size: tuple[int, int], *, scale: float = 1.0, flip: bool = False) -> Geometry:
        """Where the pixels of an image of `(H, W)` go; the arguments are those of `prepare`."""
        resized = fitted_size(
            size, policy=self.config.policy, side=self.config.size, max_side=self.config.max_size, scale=scale
        )
        return geometry_for(size, resized, stride=self.spec.stride, multiple=self.spec.multiple, flip=flip)

    def picture(
        self, image: UInt8[np.ndarray, "H W 3"], geometry: Geometry
    ) -> Float32[torch.Tensor, "channels height width"]:
        """Resize an image, unless it has the size already, mirror, normalise and pad it."""
        pixels = resize_image(image, geometry.resized)
        pixels = pixels[:, ::-1] if geometry.flip else pixels
        mean, std = (np.array(values, np.float32) for values in (self.spec.mean, self.spec.std))
        normal = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        picture = np.zeros((3, *geometry.padded), np.float32)
        (top, left), (height, width) = geometry.pad, geometry.resized
        picture[:, top : top + height, left : left + width] = normal.transpose(2, 0, 1)
        return torch.from_numpy(picture)

    def tokens(self, batch: Float32[torch.Tensor, "B channels height width"]) -> Float32[torch.Tensor, "B h w D"]:
        """Tokens of prepared images of one size, without any trace for gradients.

        On a CPU the last bits may depend on which images share a batch, and on the number of threads.

        Returns
        -------
        Tensor
            float32 on the device of the backbone; layers concatenated in order of depth.
        """
        with torch.inference_mode():
            return self.trainable_tokens(batch)

    def trainable_tokens(
        self, batch: Float[torch.Tensor, "B channels height width"]
    ) -> Float32[torch.Tensor, "B h w D"]:
        """Like `tokens`, with gradients where parameters ask for them: for tuning the backbone.

        Raises
        ------
        ShapeError
            When the sides are not multiples of the patch.
        """
        if batch.shape[2] % self.spec.multiple or batch.shape[3] % self.spec.multiple:
            raise ShapeError(
                f"{self.spec.name} takes images with sides that are multiples of {self.spec.multiple}, "
                f"got {tuple(batch.shape[2:])}",
                hint="use Backbone.prepare",
            )
        return self._architecture.read(batch.to(self.device, self.dtype)).float()

    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes the value of a token, as plain JSON values."""
        config = self.config.to_json()
        del config["weights"]  # where they lie says nothing; their hash does
        spec = asdict(self.spec)
        about = {key: list(value) if isinstance(value, tuple) else value for key, value in spec.items()}
        del about["weights_from"], about["licence"]
        return {
            **about,
            **config,
            "pad": "centre",
            "resize": "bicubic-antialias",
            "schema": SCHEMA,
        }


def load_backbone(config: BackboneConfig, *, device: str = "cpu", pretrained: bool = True, seed: int = 0) -> Backbone:
    """Build a backbone, load its weights strictly, and freeze it.

    Parameters
    ----------
    device
        Any torch device name; `auto` takes CUDA where there is one.
    pretrained
        False gives random weights (and says so in `BackboneSpec.weights_from`); only for tests and comparisons.
    seed
        Of the random weights.

    Raises
    ------
    ConfigError
        When the name, a layer, or an option does not fit the model.
    WeightsError
        When weights are missing or do not fit.

    Examples
    --------
    >>> tiny = BackboneConfig("test_vit", dtype="float32")
    >>> backbone = load_backbone(tiny, pretrained=False)
    >>> picture, geometry = backbone.prepare(np.zeros((30, 50, 3), np.uint8))
    >>> tuple(backbone.tokens(picture[None]).shape), geometry.grid
    ((1, 10, 17, 64), (10, 17))
    """
    where = resolve_device(device)
    architecture = build_architecture(config, pretrained=pretrained, seed=seed)
    architecture.model.eval()
    dtype = choose_dtype(config.dtype, architecture.model, where, cosine=lambda dtype: mean_cosine(architecture, dtype))
    return freeze(architecture, config, dtype=dtype, device=where)


def freeze(architecture: Architecture, config: BackboneConfig, *, dtype: torch.dtype, device: torch.device) -> Backbone:
    """Make a frozen backbone of a float32 network with its weights, and move it."""
    model = architecture.model.eval().requires_grad_(False)
    spec = BackboneSpec(
        name=architecture.name,
        family=architecture.family,
        stride=architecture.stride,
        multiple=architecture.multiple,
        dim=architecture.dim,
        depth=architecture.depth,
        prefix=architecture.prefix,
        mean=architecture.mean,
        std=architecture.std,
        native_size=architecture.native_size,
        licence=architecture.licence,
        weights_sha256=parameter_hash(model),
        weights_from=architecture.weights_from,
    )
    model.to(device=device, dtype=dtype)
    return Backbone(spec, _resolve(config, architecture, dtype), architecture, dtype)


def _resolve(config: BackboneConfig, architecture: Architecture, dtype: torch.dtype) -> BackboneConfig:
    """Put values for what was left to the model and the machine, so that the same can be asked for elsewhere."""
    arithmetic: Any = str(dtype).removeprefix("torch.")
    size = config.size or architecture.native_size
    limit = config.max_size or (2 * size if config.policy == "keep" else 0)
    size, limit = {"keep": (size, limit), "square": (size, 0), "native": (0, limit)}[config.policy]
    return replace(
        config,
        name=architecture.name,
        weights=str(Path(config.weights).resolve()) if config.weights else "",
        layers=architecture.layers,
        size=size,
        max_size=limit,
        dtype=arithmetic,
    )
