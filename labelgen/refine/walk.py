"""Random walk of scores from cell to like cell, as AffinityNet and IRN do it, without training an affinity."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Refine, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.refine.random_walk import half_plane
from labelgen.refine.refiner import Refiner, background_of, check_settings
from labelgen.refine.token_network import MOST_TOKENS, network_facts, settle_network
from labelgen.seeds.backgrounds import Fixed, Power, parse_background
from labelgen.vocab import Vocabulary

__all__ = ["PRESETS", "WALK", "WalkConfig", "make_walk", "with_preset"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {"beta": 8.0, "steps": 64, "stride": 0, "background": "keep"},
    "psa": {"beta": 8.0, "steps": 2**8, "stride": 8, "background": "power:16"},
    "seam": {"beta": 8.0, "steps": 2**6, "stride": 8, "background": "power:6"},
    "irn": {"beta": 10.0, "steps": 2**8, "stride": 4, "background": "fixed:irn-walk"},
}
"""Settings of the papers' code; the empty name has those of SEAM with the background that is there, and with cells that
grow with the image."""

COLOUR_BETA = 16.0
"""Of our own settings with colours. The papers' 8 is for features: with it colours leak. Class maps of the demo scenes
lose two points of mIoU with 8 and gain one or two with 16; those of photographs gain three and nearly five."""

OF_AFFINITY = {
    "features": ("kernel",),
    "colour": ("kernel",),
    "boundary": ("boundary",),
}


MOST_STEPS = 2**12
"""Long before, all cells that are connected have the same scores."""


@dataclass(frozen=True)
class WalkConfig:
    """Let scores walk between cells of the image that belong together: those of like features, or within boundaries.

    `affinity` says what makes two near cells alike. `features`: tokens of a frozen self-supervised network, under the
    formula of AffinityNet [1]_, whose network is trained for it; `colour`: the mean colours of the cells, which needs
    no network; `boundary`: no boundary lies between them, as in IRN [2]_, from maps of any source or from edges that
    are computed. Features and colours count in units of their standard deviation over the image.

    With a `power` background that plane is made anew from the scores of the classes, and walks with them. With a
    `fixed` one the classes walk alone, are divided by the largest score of the image, and then meet the constant, as
    in IRN. Both want class maps in [0, 1], such as class activation maps; `keep` takes the scores as they are.

    Abstaining cells have no vote; those that no vote reaches abstain.

    Raises
    ------
    ConfigError
        When a value is out of range or has no say.

    References
    ----------
    .. [1] Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised
       Semantic Segmentation", CVPR 2018, arXiv 1803.10464.
    .. [2] Ahn, Cho & Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR
       2019, arXiv 1904.05044.
    """

    affinity: Annotated[Literal["features", "colour", "boundary"], "what says that near cells are alike"] = "features"
    preset: Annotated[
        Literal["", "psa", "seam", "irn"], "beta, steps, stride and background of a paper; empty for our own"
    ] = ""
    beta: Annotated[float | None, "power of the affinity; none for the preset's, or 16 for colour without one"] = None
    steps: Annotated[int | None, "steps of the walk, not the power of 2 that papers give; none for the preset's"] = None
    stride: Annotated[int | None, "side of a cell in pixels, 0 for a 48th of the short side; none for the preset's"] = (
        None
    )
    background: Annotated[str, "keep, power:ALPHA or fixed:THRESHOLD; empty for the preset's"] = ""
    radius: Annotated[float, "cells walk to cells nearer than this many cells"] = 5.0
    kernel: Annotated[
        Literal["l1", "cosine"], "features, colour: exp of minus the mean difference, or cosine of centred ones"
    ] = "l1"
    boundary: Annotated[str, "boundary: gradient (of the image), features, or a folder of <id>.png"] = "gradient"
    backbone: Annotated[str, "demo-ssvt or a timm model; empty for demo-ssvt on demo data, else a small DINOv2"] = ""
    weights: Annotated[str, "checkpoint file; empty for the published weights"] = ""
    tokens: Annotated[int, "patches along the short side of the image"] = 32
    device: Annotated[str, "torch device; auto takes CUDA where there is one"] = "auto"
    background_id: Annotated[int, "class id of background; that of the vocabulary where it is known"] = 0

    def __post_init__(self) -> None:
        for name, choices in (("affinity", OF_AFFINITY), ("preset", PRESETS), ("kernel", ("l1", "cosine"))):
            if getattr(self, name) not in choices:
                allowed = ", ".join(choice for choice in choices if choice)
                raise ConfigError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        check_settings(self, of_choice=_without_shared(self.affinity), choice=self.affinity)
        if not self.uses_network:
            unused = {"any network": ("backbone", "weights", "tokens")}
            check_settings(self, of_choice=unused, choice=f"affinity {self.affinity}")
        for name, least in (("beta", 0), ("steps", 1), ("stride", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} must be >= {least}, got {value}")
        if (self.steps or 1) > MOST_STEPS:
            raise ConfigError(
                f"steps must be <= {MOST_STEPS}, got {self.steps}",
                hint="papers: 2 ** 6 = 64, 2 ** 8 = 256",
            )
        if self.radius <= 1 or not 1 <= self.tokens <= MOST_TOKENS:
            raise ConfigError(
                f"radius must be > 1 and tokens lie in [1, {MOST_TOKENS}], got {self.radius} and {self.tokens}"
            )
        _check_background(self.background)

    @property
    def uses_network(self) -> bool:
        """Whether features of a network have a say."""
        return self.affinity == "features" or (self.affinity == "boundary" and self.boundary == "features")


def _without_shared(choice: str) -> dict[str, tuple[str, ...]]:
    """Settings of other choices that this one does not have too."""
    return {
        owner: tuple(name for name in names if name not in OF_AFFINITY[choice]) for owner, names in OF_AFFINITY.items()
    }


def _check_background(text: str) -> None:
    if text not in ("", "keep") and not isinstance(parse_background(text), Fixed | Power):
        raise ConfigError(f"the background of a walk must be keep, power: or fixed:, got {text!r}")


def with_preset(config: WalkConfig) -> WalkConfig:
    """Fill what was left open from the preset; what was given stays.

    Examples
    --------
    >>> filled = with_preset(WalkConfig(preset="psa", steps=4))
    >>> filled.beta, filled.steps, filled.stride, filled.background
    (8.0, 4, 8, 'power:16')
    >>> with_preset(WalkConfig("colour")).beta, with_preset(WalkConfig("colour", beta=8.0)).beta
    (16.0, 8.0)
    """
    given = {name: getattr(config, name) for name in PRESETS[""]}
    preset = dict(PRESETS[config.preset])
    if config.affinity == "colour" and not config.preset:
        preset["beta"] = COLOUR_BETA
    return dataclasses.replace(config, **{n: preset[n] if v in (None, "") else v for n, v in given.items()})


def settle_walk(config: WalkConfig, data: DataSpec) -> WalkConfig:
    """Fill in the preset, and the network that nobody named where one is needed."""
    config = with_preset(config)
    return settle_network(config, data) if config.uses_network else config


def make_walk(config: WalkConfig) -> Refine:
    """Load the network, if there is one, and build the refiner.

    Raises
    ------
    ConfigError, WeightsError
        As `labelgen.nets.backbones.load_backbone`; and when the folder of boundary maps does not exist.
    """
    from labelgen.refine.walk_grid import make_neighbourhood, walk_on_grid

    config = with_preset(config)
    settled = vars(config)
    offsets = half_plane(config.radius)
    neighbourhood = make_neighbourhood(config, offsets)
    walk = {name: settled[name] for name in ("beta", "steps", "background", "background_id")}

    def refine(sample: Sample, mask: SoftMask) -> SoftMask:
        return walk_on_grid(mask, neighbourhood(sample), offsets, **walk) if mask.class_ids else mask

    return refine


def walk_models(config: WalkConfig) -> dict[str, Any]:
    """The network with the sha256 of its weights, where there is one."""
    return network_facts(config) if config.uses_network else {}


def settle_classes(config: WalkConfig, vocabulary: Vocabulary) -> WalkConfig:
    """Find the background, where it is made anew."""
    return config if with_preset(config).background == "keep" else background_of(config, vocabulary)


WALK = Refiner(
    WalkConfig,
    make_walk,
    argument="affinity",
    settle=settle_walk,
    models=walk_models,
    settle_classes=settle_classes,
)
