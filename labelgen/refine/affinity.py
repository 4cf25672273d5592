"""Scores averaged over patches that a frozen self-supervised network finds alike."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.refine.refiner import Refiner, check_settings
from labelgen.refine.token_network import MOST_TOKENS, network_facts, network_of, settle_network

if TYPE_CHECKING:
    import torch

    from labelgen.nets.backbones import Backbone
    from labelgen.refine.propagation import AffinityRows

__all__ = ["AFFINITY", "AffinityConfig", "affinity_scores", "make_affinity"]


@dataclass(frozen=True)
class AffinityConfig:
    """Average scores over patches whose frozen features are alike, as if the label model had attended by them.

    The published forms are those without `centre` and `radius`: `variant=dinoiser` is then the pooling of
    CLIP-DINOiser [1]_, `variant=proxy` the attention of ProxyCLIP [2]_, applied to scores instead of values. Features
    of which all patches share a large part need `centre`, or everything is alike.

    Abstaining pixels have no vote; a cell that no vote reaches abstains.

    Raises
    ------
    ConfigError
        When a value is out of range.

    References
    ----------
    .. [1] Wysoczanska et al., "CLIP-DINOiser: Teaching CLIP a Few DINO Tricks", ECCV 2024, arXiv 2312.12359.
    .. [2] Lan et al., "ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary Segmentation", ECCV 2024,
       arXiv 2408.04883.
    """

    backbone: Annotated[str, "demo-ssvt or a timm model; empty for demo-ssvt on demo data, else a small DINOv2"] = ""
    weights: Annotated[str, "checkpoint file; empty for the published weights"] = ""
    variant: Annotated[Literal["dinoiser", "proxy"], "weights are cosines, or a softmax of them"] = "dinoiser"
    threshold: Annotated[float, "dinoiser: pairs of a lower cosine are left out"] = 0.2
    beta: Annotated[float, "proxy: pairs below beta times the mean cosine are left out"] = 1.2
    gamma: Annotated[float, "proxy: factor on cosines before the softmax"] = 3.0
    centre: Annotated[bool, "subtract the mean feature of the image first"] = True
    radius: Annotated[float, "standard deviation in patches of a Gaussian of distance; 0 for none"] = 5.0
    steps: Annotated[int, "how often to average"] = 1
    tokens: Annotated[int, "patches along the short side of the image"] = 32
    device: Annotated[str, "torch device; auto takes CUDA where there is one"] = "auto"

    def __post_init__(self) -> None:
        if self.variant not in ("dinoiser", "proxy"):
            raise ConfigError(f"variant must be dinoiser or proxy, got {self.variant!r}")
        check_settings(self, of_choice={"dinoiser": ("threshold",), "proxy": ("beta", "gamma")}, choice=self.variant)
        if self.gamma <= 0:
            raise ConfigError(f"gamma must be > 0, got {self.gamma}")
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold must lie in [0, 1), got {self.threshold}")
        if self.radius < 0 or self.beta < 0:
            raise ConfigError(f"radius and beta must be >= 0, got {self.radius} and {self.beta}")
        if self.steps < 1 or not 1 <= self.tokens <= MOST_TOKENS:
            raise ConfigError(
                f"steps must be >= 1 and tokens lie in [1, {MOST_TOKENS}], got {self.steps} and {self.tokens}"
            )


def make_affinity(config: AffinityConfig) -> Refine:
    """Load the network and build the refiner.

    Raises
    ------
    ConfigError, WeightsError
        As `labelgen.nets.backbones.load_backbone`.
    """
    network = network_of(config)

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        if not mask.class_ids:
            return mask
        scores = affinity_scores(sample.need_image(), mask.scores, network, config)
        return dataclasses.replace(mask, scores=scores)

    return refine


def affinity_scores(
    image: UInt8[np.ndarray, "H W 3"], scores: Float32[np.ndarray, "C H W"], network: "Backbone", config: AffinityConfig
) -> Float32[np.ndarray, "C H W"]:
    """Average scores over the patches of one image: `A S` on the token grid, read bilinearly at the pixels.

    Returns
    -------
    ndarray
        On the scale of the scores; pixels that abstain get scores from those that do not.
    """
    import torch

    from labelgen.refine.cells import cells_to_pixels, pixels_to_cells
    from labelgen.refine.propagation import propagate

    short_side = config.tokens * network.spec.stride
    native = network.config.size or min(image.shape[:2])
    picture, geometry = network.prepare(image, scale=short_side / native)
    features = network.tokens(picture[None])[0].reshape(-1, network.spec.dim)
    sums, votes = pixels_to_cells(scores, geometry)
    columns = torch.from_numpy(sums.reshape(len(sums), -1).T).to(features)
    averages, reached = propagate(
        _rows_of(features, geometry.grid, config),
        columns,
        torch.from_numpy(votes.reshape(-1)).to(features),
        steps=config.steps,
    )
    cells = averages.T.reshape(sums.shape).cpu().numpy()
    return cells_to_pixels(cells, reached.reshape(votes.shape).cpu().numpy(), geometry)


def _rows_of(features: "torch.Tensor", grid: tuple[int, int], config: AffinityConfig) -> "AffinityRows":
    import torch

    from labelgen.refine.propagation import dinoiser_rows, local_log_weights, proxy_rows

    centred = features - features.mean(dim=0) if config.centre else features
    unit = torch.nn.functional.normalize(centred, dim=1)

    def rows(start: int, stop: int) -> torch.Tensor:
        local = None
        if config.radius:
            local = local_log_weights(grid, start, stop, radius=config.radius, device=unit.device)
        if config.variant == "proxy":
            return proxy_rows(unit, start, stop, beta=config.beta, gamma=config.gamma, local=local)
        return dinoiser_rows(unit, start, stop, threshold=config.threshold, local=local)

    return rows


AFFINITY = Refiner(AffinityConfig, make_affinity, argument="backbone", settle=settle_network, models=network_facts)
