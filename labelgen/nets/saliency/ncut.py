"""Saliency from a frozen self-supervised ViT: cuts of the graph of its tokens."""

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.inputs import InputFile
from labelgen.errors import ConfigError
from labelgen.nets.backbone_config import DEMO_BACKBONE, BackboneConfig
from labelgen.nets.geometry import resize_image
from labelgen.nets.saliency.cuts import border_saliency, cut_saliency, likeness_share, unit_features
from labelgen.nets.saliency.guided import guided_filter

if TYPE_CHECKING:
    from labelgen.nets.backbones import Backbone

__all__ = ["NcutConfig", "NcutSaliency", "image_saliency"]

MOST_TOKENS = 4096
"""Of one image; matrices of all pairs are 128 MB then."""


@dataclass(frozen=True)
class NcutConfig:
    """Saliency by cuts of the graph of a frozen network's tokens; no training, no labels.

    `variant=border` takes all cuts together and calls background what reaches far along the border of the image;
    `variant=tokencut` takes one cut, as TokenCut, which cannot tell objects from two kinds of background.

    Of 100 demo scenes that no choice looked at, border gives an area under the ROC curve of .91 and an IoU of .55 at a
    saliency of .5; a single cut at its best (threshold .5, cosine edges) gave .80 and .32 on the 60 it was chosen on.

    Raises
    ------
    ConfigError
        When a value is out of range, or belongs to the other variant.
    """

    backbone: Annotated[str, "demo-ssvt or a timm ViT; empty for demo-ssvt on demo data, else a small DINOv2"] = ""
    weights: Annotated[str, "checkpoint file; empty for the published weights"] = ""
    variant: Annotated[Literal["border", "tokencut"], "all cuts with the border as background, or a single cut"] = (
        "border"
    )
    tokens: Annotated[int, "patches along the short side of the image"] = 16
    gamma: Annotated[float, "border: factor on cosines in the weights of the graph"] = 4.0
    steps: Annotated[int, "border: length of the walk on the graph"] = 2
    spread: Annotated[float, "border: how much of the border a salient region may touch"] = 0.8
    again: Annotated[float, "border: factor on cosines when saliency is decided again by likeness; 0 for once"] = 4.0
    threshold: Annotated[float, "tokencut: cosine from which two tokens are joined"] = 0.2
    edges: Annotated[Literal["binary", "cosine"], "tokencut: weight of joined tokens"] = "binary"
    centre: Annotated[bool | None, "subtract the mean feature first; default: border yes, tokencut no"] = None
    guide: Annotated[float, "radius of the edge-aware filter as a share of the short side; 0 for none"] = 0.2

    def __post_init__(self) -> None:
        if self.variant not in ("border", "tokencut"):
            raise ConfigError(f"variant must be border or tokencut, got {self.variant!r}")
        owned = {"border": ("gamma", "steps", "spread", "again"), "tokencut": ("threshold", "edges")}
        for owner, names in owned.items():
            for name in names:
                if owner != self.variant and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise ConfigError(f"{name} has no say with {self.variant}, got {getattr(self, name)}")
        if not 2 <= self.tokens <= math.isqrt(MOST_TOKENS):
            raise ConfigError(f"tokens must lie in [2, {math.isqrt(MOST_TOKENS)}], got {self.tokens}")
        if not (0 < self.gamma < math.inf and 0 < self.spread < math.inf) or self.steps < 1:
            raise ConfigError(
                f"gamma and spread must be finite and > 0 and steps >= 1, got {self.gamma}, {self.spread}, {self.steps}"
            )
        if not 0 <= self.again < math.inf:
            raise ConfigError(f"again must be finite and >= 0, got {self.again}")
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold must lie in [0, 1), got {self.threshold}")
        if not 0 <= self.guide <= 1:
            raise ConfigError(f"guide must be a share of the short side in [0, 1], got {self.guide}")

    @property
    def is_centred(self) -> bool:
        """Whether the mean feature is subtracted."""
        return self.variant == "border" if self.centre is None else self.centre

    def backbone_config(self) -> BackboneConfig:
        """The network with its last normalised tokens; pictures come in their final size."""
        name = self.backbone or ("" if self.weights else DEMO_BACKBONE)
        return BackboneConfig(name=name, weights=self.weights, policy="native", dtype="float32")


@dataclass(frozen=True)
class NcutSaliency:
    """Saliency of each image by `NcutConfig`; the network is loaded once a process, so that this can be pickled."""

    config: NcutConfig = NcutConfig()
    device: str = "auto"

    def map(
        self, sample_id: str, image: UInt8[np.ndarray, "H W 3"]
    ) -> tuple[Float32[np.ndarray, "H W"], InputFile | None]:
        """Saliency of an image; no file is read."""
        return image_saliency(image, _network(self.config.backbone_config(), self.device), self.config), None

    def facts(self) -> dict[str, Any]:
        """Where the maps come from, as JSON values."""
        spec = _network(self.config.backbone_config(), self.device).spec
        settings = {**vars(self.config), "centre": self.config.is_centred}
        about = {"backbone": spec.name, "sha256": spec.weights_sha256, "weights_from": spec.weights_from}
        return {"provider": "ncut", **settings, **about, "pixel_supervised": False}


def image_saliency(
    image: UInt8[np.ndarray, "H W 3"], network: "Backbone", config: NcutConfig
) -> Float32[np.ndarray, "H W"]:
    """Saliency of one image in [0, 1], at its pixels.

    The image is resized to whole patches, `config.tokens` along its short side (fewer where more than `MOST_TOKENS`
    would come out), cut, resized bilinearly and filtered along the edges of the image.
    """
    import cv2

    height, width = image.shape[:2]
    grid = _grid((height, width), config.tokens)
    stride = network.spec.stride
    picture, geometry = network.prepare(resize_image(image, (grid[0] * stride, grid[1] * stride)))
    features = network.tokens(picture[None])[0].reshape(-1, network.spec.dim).cpu().numpy()
    unit = unit_features(features, centre=config.is_centred)
    if config.variant == "border":
        cells = border_saliency(unit, geometry.grid, gamma=config.gamma, steps=config.steps, spread=config.spread)
        cells = likeness_share(unit, cells, gamma=config.again) if config.again else cells
    else:
        cells = cut_saliency(unit, geometry.grid, threshold=config.threshold, edges=config.edges)
    pixels = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)
    radius = round(config.guide * min(height, width))
    return np.clip(guided_filter(image, pixels, radius=radius) if radius else pixels, 0, 1)


def _grid(size: tuple[int, int], tokens: int) -> tuple[int, int]:
    short, long = min(size), max(size)
    across = min(tokens, max(1, math.isqrt(MOST_TOKENS * short // long)))
    along = min(max(1, round(across * long / short)), MOST_TOKENS // across)
    return (across, along) if size[0] == short else (along, across)


@functools.lru_cache(maxsize=1)
def _network(config: BackboneConfig, device: str) -> "Backbone":
    from labelgen.nets.backbones import load_backbone

    return load_backbone(config, device=device)
