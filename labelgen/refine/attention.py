"""Class maps spread by the attention of a frozen self-supervised ViT, class by class."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.refine.refiner import Refiner, check_settings
from labelgen.refine.token_network import network_facts, network_of, settle_network
from labelgen.seeds.background_scores import background_plane
from labelgen.seeds.backgrounds import Fixed, Power, parse_background
from labelgen.seeds.normalise import normalise

if TYPE_CHECKING:
    import torch

    from labelgen.nets.backbones import Backbone

__all__ = ["ATTENTION", "AttentionConfig", "attention_scores", "make_attention"]

MOST_CELLS = 4096
"""Of one image: attention over them is 64 MiB a head and block."""


@dataclass(frozen=True)
class AttentionConfig:
    """Spread class maps along the attention of a frozen ViT, as CLIP-ES [1]_ does along that of CLIP.

    Attention of the last blocks is averaged, made symmetric with rows and columns that sum to 1, and applied twice to
    each class map. Only what lies in the bounding boxes of a map's strong parts is spread; then the map is scaled to
    [0, 1] again. A map that is the same everywhere has no strong parts and becomes zero.

    The plane of background stays as it is, or is made anew from the spread maps (`background`). With
    `filter=features` blocks whose attention disagrees with the likeness of the last features are left out, and the
    others are multiplied by it, as in the refining module of WeCLIP [2]_.

    Raises
    ------
    ConfigError
        When a value is out of range or has no say.

    References
    ----------
    .. [1] Lin et al., "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly Supervised Semantic
       Segmentation", CVPR 2023, arXiv 2212.09506, section 3.3.
    .. [2] Zhang et al., "Frozen CLIP: A Strong Backbone for Weakly Supervised Semantic Segmentation", CVPR 2024,
       arXiv 2406.11189.
    """

    backbone: Annotated[str, "demo-ssvt or a timm ViT; empty for demo-ssvt on demo data, else a small DINOv2"] = ""
    weights: Annotated[str, "checkpoint file; empty for the published weights"] = ""
    layers: Annotated[int, "the last so many blocks; 0 for two thirds of them, as 8 of 12 in CLIP-ES"] = 0
    share: Annotated[float, "of a map's maximum from which a place is in a box"] = 0.4
    filter: Annotated[Literal["none", "features"], "which blocks: all, or those that agree with the features"] = "none"
    gamma: Annotated[float, "features: factor on centred cosines before the sigmoid"] = 6.0
    tokens: Annotated[int, "patches along the short side of the image"] = 32
    background: Annotated[str, "keep, power:ALPHA or fixed:THRESHOLD"] = "keep"
    background_id: Annotated[int, "class id of background, which is no class map"] = 0
    device: Annotated[str, "torch device; auto takes CUDA where there is one"] = "auto"

    def __post_init__(self) -> None:
        if self.filter not in ("none", "features"):
            raise ConfigError(f"filter must be none or features, got {self.filter!r}")
        check_settings(self, of_choice={"features": ("gamma",)}, choice=self.filter)
        if self.layers < 0 or self.background_id < 0:
            raise ConfigError(f"layers and background_id must be >= 0, got {self.layers} and {self.background_id}")
        if not 0 <= self.share <= 1 or self.gamma <= 0:
            raise ConfigError(f"share must lie in [0, 1] and gamma be > 0, got {self.share} and {self.gamma}")
        if not 1 <= self.tokens <= MOST_CELLS**0.5:
            raise ConfigError(f"tokens must lie in [1, {round(MOST_CELLS**0.5)}], got {self.tokens}")
        if self.background != "keep" and not isinstance(parse_background(self.background), Fixed | Power):
            raise ConfigError(f"the background must be keep, power: or fixed:, got {self.background!r}")


def make_attention(config: AttentionConfig) -> Refine:
    """Load the network and build the refiner.

    Raises
    ------
    ConfigError, WeightsError
        As `labelgen.nets.backbones.load_backbone`; and when an image has more than `MOST_CELLS` patches.
    """
    network = network_of(config)

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        is_class = np.array([class_id != config.background_id for class_id in mask.class_ids], bool)
        if not is_class.any():
            return mask
        scores = mask.scores.copy()
        scores[is_class] = attention_scores(sample.need_image(), mask.scores[is_class], network, config)
        rule = None if config.background == "keep" else parse_background(config.background)
        if isinstance(rule, Fixed | Power) and not is_class.all():
            scores[~is_class] = background_plane(scores[is_class], rule)
        return dataclasses.replace(mask, scores=scores)

    return refine


def attention_scores(
    image: UInt8[np.ndarray, "H W 3"], maps: Float32[np.ndarray, "C H W"], network: "Backbone", config: AttentionConfig
) -> Float32[np.ndarray, "C H W"]:
    """Spread the class maps of one image along the attention of a network.

    Parameters
    ----------
    maps
        In [0, 1]; of classes, without background.

    Returns
    -------
    ndarray
        Each map scaled to [0, 1]; see `labelgen.seeds.normalise.normalise` with `minmax0`.

    Raises
    ------
    ConfigError
        When the image has too many patches, or the network no attention to read.
    """
    from labelgen.refine.attention_affinity import sinkhorn_affinity, spread_maps
    from labelgen.refine.cells import cells_to_pixels, pixels_to_cells

    native = network.config.size or min(image.shape[:2])
    picture, geometry = network.prepare(image, scale=config.tokens * network.spec.stride / native)
    count = geometry.grid[0] * geometry.grid[1]
    if count > MOST_CELLS:
        raise ConfigError(
            f"attention is read over {MOST_CELLS} patches at most, got {geometry.grid[0]} x {geometry.grid[1]}",
            hint=f"tokens={max(1, int(config.tokens * (MOST_CELLS / count) ** 0.5))} for such a long image",
        )
    # every pixel counts, and so a plane of ones tells how much of a cell lies in the image
    sums, covered = pixels_to_cells(np.concatenate([maps, np.ones((1, *maps.shape[1:]), np.float32)]), geometry)
    cells = np.divide(sums[:-1], covered, out=np.zeros_like(sums[:-1]), where=covered > 0)
    affinity = sinkhorn_affinity(_attention(picture, network, config))
    spread = normalise(spread_maps(affinity, cells, share=config.share), how="minmax0")
    return cells_to_pixels(spread, np.ones_like(covered), geometry)


def _attention(picture: "torch.Tensor", network: "Backbone", config: AttentionConfig) -> "torch.Tensor":
    import torch

    from labelgen.refine.attention_affinity import filter_attention
    from labelgen.refine.attention_maps import patch_attention

    layers = patch_attention(network, picture, layers=config.layers or -(-2 * network.spec.depth // 3))
    if config.filter == "none":
        return layers.mean(dim=0)
    features = network.tokens(picture[None])[0].reshape(-1, network.spec.dim)
    unit = torch.nn.functional.normalize(features - features.mean(dim=0), dim=1)
    return filter_attention(layers, torch.sigmoid(config.gamma * (unit @ unit.T)))[0]


ATTENTION = Refiner(AttentionConfig, make_attention, argument="backbone", settle=settle_network, models=network_facts)
