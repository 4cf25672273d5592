"""Networks behind the backbones: built through timm, their weights loaded, their layers read as token grids."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch.nn.functional import interpolate

from labelgen.errors import ConfigError
from labelgen.nets.backbone_config import DEMO_BACKBONE, BackboneConfig
from labelgen.nets.keymaps import load_strictly
from labelgen.nets.pos_embed import use_official_positions
from labelgen.nets.weights import Checkpoint, fetch_published, read_checkpoint

__all__ = ["Architecture", "build_architecture"]

VIT_MODULES = ("vision_transformer", "eva", "deit", "beit")
"""timm modules whose models are columns of blocks over one grid of patches."""

SHIPPED_LICENCE = "MIT (shipped)"


@dataclass(frozen=True)
class Architecture:
    """A network with what is needed to read tokens from it; fields as in `BackboneSpec`.

    Parameters
    ----------
    layers
        Resolved indices, rising.
    dims, strides
        Channels and pixels per token of each of them.
    offset
        See `Geometry.offset`.
    """

    model: Any
    name: str
    family: str
    layers: tuple[int, ...]
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    depth: int
    prefix: int
    norm: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    native_size: int
    licence: str
    weights_from: str
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def stride(self) -> int:
        """Pixels per token of the finest layer, which sets the grid."""
        return min(self.strides)

    @property
    def dim(self) -> int:
        """Channels of all layers together."""
        return sum(self.dims)

    def with_model(self, model: torch.nn.Module) -> "Architecture":
        """The same reading of another copy of the network."""
        return replace(self, model=model)

    def read(self, batch: Float[torch.Tensor, "B channels height width"]) -> Float[torch.Tensor, "B h w D"]:
        """Tokens of all layers, in the arithmetic of the model; coarse layers are resampled bilinearly to the finest.

        Without the final norm of the model when `norm` is False.
        """
        if self.family == "vit":
            grid = batch.shape[2] // self.stride, batch.shape[3] // self.stride
            maps = read_vit(self.model, batch, self.layers, norm=self.norm)
            return torch.cat(maps, dim=-1).reshape(len(batch), *grid, -1)
        maps = read_stages(self.model, batch, self.layers, norm=self.norm)
        size = max(tuple(stage.shape[2:]) for stage in maps)
        same = [stage if stage.shape[2:] == size else interpolate(stage, size=size, mode="bilinear") for stage in maps]
        return torch.cat(same, dim=1).permute(0, 2, 3, 1)


def read_vit(model: Any, batch: torch.Tensor, layers: tuple[int, ...], *, norm: bool) -> list[torch.Tensor]:
    """Patch tokens `(B, N, D)` after the given blocks; class and register tokens are left out."""
    return model.forward_intermediates(
        batch, indices=list(layers), norm=norm, output_fmt="NLC", intermediates_only=True, stop_early=True
    )


def read_stages(model: Any, batch: torch.Tensor, layers: tuple[int, ...], *, norm: bool) -> list[torch.Tensor]:
    """Maps `(B, C, h, w)` after the given stages; with `norm` the last stage gives what the classifier would pool."""
    whole = norm and layers[-1] == len(model.feature_info) - 1
    if not whole:
        return model.forward_intermediates(batch, indices=list(layers), intermediates_only=True, stop_early=True)
    final, maps = model.forward_intermediates(batch, indices=list(layers))
    return [*maps[:-1], final]


def build_architecture(config: BackboneConfig, *, pretrained: bool, seed: int) -> Architecture:
    """Build the network of `config` with its weights.

    Raises
    ------
    ConfigError
        When the name is unknown, a layer does not exist, or an option does not fit the model.
    WeightsError
        When weights are missing or do not fit.
    """
    checkpoint = read_checkpoint(Path(config.weights)) if config.weights and pretrained else None
    name = _model_name(config, checkpoint)
    if name == DEMO_BACKBONE:
        model, about = _demo_model(checkpoint, pretrained=pretrained, seed=seed)
    else:
        model, about = _timm_model(name, config, checkpoint, pretrained=pretrained, seed=seed)
    if checkpoint:
        load_strictly(model, checkpoint.state, family=checkpoint.family, source=str(checkpoint.path))
    if config.pos_interp == "official":
        use_official_positions(model)
    describe = _describe_vit if _is_vit(model) else _describe_stages
    return describe(model, name, config, about)


def _model_name(config: BackboneConfig, checkpoint: Checkpoint | None) -> str:
    """The model that was asked for; a checkpoint that names its own wins over the default."""
    name = config.name.removeprefix("timm:")
    own = checkpoint.model if checkpoint else ""
    if own and name == DEMO_BACKBONE:
        return own
    if own and own.split(".")[0] != name.split(".")[0]:
        raise ConfigError(
            f"{config.weights} says it holds weights of {own}, but the backbone asked for is {name}",
            hint="leave --backbone out, or give the same name",
        )
    return name


def _demo_model(checkpoint: Checkpoint | None, *, pretrained: bool, seed: int) -> tuple[Any, dict[str, Any]]:
    from labelgen.nets.demo_ssvt import DEMO_MEAN, DEMO_STD, build_demo_ssvt

    shipped = pretrained and checkpoint is None
    model = build_demo_ssvt(pretrained=shipped, seed=seed)
    origin = "shipped" if shipped else _origin(checkpoint, seed)
    about = {"mean": DEMO_MEAN, "std": DEMO_STD, "licence": SHIPPED_LICENCE, "weights_from": origin}
    return model, about | _normalisation(checkpoint)


def _timm_model(
    name: str, config: BackboneConfig, checkpoint: Checkpoint | None, *, pretrained: bool, seed: int
) -> tuple[Any, dict[str, Any]]:
    import timm

    if not timm.is_model(name):
        raise ConfigError(
            f"timm knows no model called {name!r}", hint="segprobe backbones --all PATTERN lists the names"
        )
    published = pretrained and checkpoint is None
    if published:
        fetch_published(name)
    vit = timm.models.is_model_in_modules(name.split(".")[0], VIT_MODULES)
    options: dict[str, Any] = {"num_classes": 0, **({"dynamic_img_size": True} if vit else {})}
    if config.output_stride:
        if vit:
            raise ConfigError(f"output_stride is for CNNs, but {name} is a ViT", hint="leave it at 0")
        options["output_stride"] = config.output_stride
    if checkpoint:
        options |= _trained_grid(checkpoint) if vit else {}
        options |= checkpoint.timm_kwargs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _create(name, pretrained=published, options=options)
    about = {
        "mean": tuple(model.pretrained_cfg["mean"]),
        "std": tuple(model.pretrained_cfg["std"]),
        "licence": model.pretrained_cfg.get("license") or "unknown",
        "weights_from": "published" if published else _origin(checkpoint, seed),
    }
    return model, about | _normalisation(checkpoint)


def _create(name: str, *, pretrained: bool, options: Mapping[str, Any]) -> Any:
    import timm

    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (TypeError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"timm cannot build {name} with {dict(options)}: {error}", hint="choose another model or option"
        ) from error


def _origin(checkpoint: Checkpoint | None, seed: int) -> str:
    return f"file:{checkpoint.path.name}" if checkpoint else f"random:seed{seed}"


def _normalisation(checkpoint: Checkpoint | None) -> dict[str, Any]:
    if checkpoint is None:
        return {}
    return {key: value for key, value in (("mean", checkpoint.mean), ("std", checkpoint.std)) if value is not None}


def _trained_grid(checkpoint: Checkpoint) -> dict[str, int]:
    """Image size at which the learned positions of a checkpoint fit as they are; none for rotary positions."""
    positions, patches = (checkpoint.state.get(key) for key in ("pos_embed", "patch_embed.proj.weight"))
    if positions is None or patches is None or patches.ndim != 4:
        return {}
    side = int(positions.shape[1] ** 0.5)  # up to 2 * side prefix tokens make no difference
    return {"img_size": side * patches.shape[-1]}


def _is_vit(model: Any) -> bool:
    return hasattr(model, "num_prefix_tokens") and hasattr(model, "blocks")


def _describe_vit(model: Any, name: str, config: BackboneConfig, about: dict[str, Any]) -> Architecture:
    if config.norm and isinstance(model.norm, torch.nn.Identity):
        raise ConfigError(f"{name} has no final norm for its tokens", hint="use norm=False (--no-norm)")
    patch = model.patch_embed.patch_size[0]
    layers = _resolve_layers(config.layers, len(model.blocks), name)
    return Architecture(
        model=model,
        name=name,
        family="vit",
        layers=layers,
        dims=(model.embed_dim,) * len(layers),
        strides=(patch,) * len(layers),
        multiple=patch,
        depth=len(model.blocks),
        prefix=model.num_prefix_tokens,
        norm=config.norm,
        native_size=model.patch_embed.img_size[0],
        **about,
    )


def _describe_stages(model: Any, name: str, config: BackboneConfig, about: dict[str, Any]) -> Architecture:
    """Describe a CNN; sizes and channels are read from the maps it gives for a blank image."""
    if not hasattr(model, "forward_intermediates"):
        raise ConfigError(f"timm gives no maps of the layers of {name}", hint="choose a ViT, ResNet, EfficientNet, ...")
    layers = _resolve_layers(config.layers, len(model.feature_info), name)
    multiple = max(info["reduction"] for info in model.feature_info)
    side = 4 * multiple
    try:
        with torch.inference_mode():
            maps = read_stages(model.eval(), torch.zeros(1, 3, side, side), layers, norm=config.norm)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{name} does not take images of any size: {error}", hint="choose a ViT or a CNN") from error
    return Architecture(
        model=model,
        name=name,
        family="cnn",
        layers=layers,
        dims=tuple(stage.shape[1] for stage in maps),
        strides=tuple(side // stage.shape[2] for stage in maps),
        multiple=multiple,
        depth=len(model.feature_info),
        prefix=0,
        norm=config.norm,
        native_size=model.pretrained_cfg["input_size"][1],
        **about,
    )


def _resolve_layers(layers: tuple[int, ...], depth: int, name: str) -> tuple[int, ...]:
    if any(not -depth <= layer < depth for layer in layers):
        raise ConfigError(f"{name} has layers 0 to {depth - 1} (or -{depth} to -1), got {layers}")
    resolved = tuple(sorted(layer % depth for layer in layers))
    if len(set(resolved)) != len(resolved):
        raise ConfigError(f"each layer of {name} can be used once, got {layers}, which are {resolved}")
    return resolved
