"""Build the network of a backbone, through timm or ours for the demo, and load its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from labelgen.errors import ConfigError
from labelgen.nets.architectures import Architecture, describe_stages, describe_vit, is_vit
from labelgen.nets.backbone_config import DEMO_BACKBONE, BackboneConfig
from labelgen.nets.keymaps import load_strictly
from labelgen.nets.pos_embed import use_official_positions
from labelgen.nets.published import fetch_published
from labelgen.nets.unfilled import unfilled
from labelgen.nets.weights import Checkpoint, read_checkpoint

__all__ = ["build_architecture", "checkpoint_options"]

VIT_MODULES = ("vision_transformer", "eva", "deit", "beit")
"""timm modules whose models are columns of blocks over one grid of patches."""

SHIPPED_LICENCE = "MIT (shipped)"


def build_architecture(
    config: BackboneConfig, *, pretrained: bool, seed: int, options: Mapping[str, Any] | None = None
) -> Architecture:
    """Build the network of `config` with its weights.

    Parameters
    ----------
    options
        Arguments of the timm architecture besides those of `config`, such as `checkpoint_options` of the file that the
        network was once built from.

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
        _refuse_output_stride(config, name)
        model, about = _demo_model(checkpoint, pretrained=pretrained, seed=seed)
    else:
        model, about = _timm_model(name, config, checkpoint, pretrained=pretrained, seed=seed, more=options or {})
    if checkpoint:
        load_strictly(model, checkpoint.state, family=checkpoint.family, source=str(checkpoint.path))
    if config.pos_interp == "official":
        use_official_positions(model)
    describe = describe_vit if is_vit(model) else describe_stages
    return describe(model, name, config, about)


def checkpoint_options(path: Path) -> dict[str, Any]:
    """Arguments of the architecture that a checkpoint asks for, so that the network can be built again without it.

    Raises
    ------
    WeightsError
        When the file is missing or damaged.
    """
    checkpoint = read_checkpoint(path)
    return {**_trained_grid(checkpoint), **checkpoint.timm_kwargs}


def _model_name(config: BackboneConfig, checkpoint: Checkpoint | None) -> str:
    """The model that was asked for; a checkpoint that names its own wins over the default."""
    name = config.name.removeprefix("timm:")
    own = checkpoint.model if checkpoint else ""
    if not name and checkpoint and not own:
        raise ConfigError(f"which model do the weights in {config.weights} belong to?", hint="name it with --backbone")
    if not name and not own:
        raise ConfigError("a backbone needs a name", hint=f"{DEMO_BACKBONE}, for example")
    if own and name in ("", DEMO_BACKBONE):
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
    about = {
        "mean": DEMO_MEAN,
        "std": DEMO_STD,
        "licence": SHIPPED_LICENCE if shipped else "unknown",
        "weights_from": origin,
    }
    return model, about | _normalisation(checkpoint)


def _timm_model(
    name: str,
    config: BackboneConfig,
    checkpoint: Checkpoint | None,
    *,
    pretrained: bool,
    seed: int,
    more: Mapping[str, Any],
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
    if vit:
        _refuse_output_stride(config, name)
    options: dict[str, Any] = {"num_classes": 0, **({"dynamic_img_size": True} if vit else {})}
    if config.output_stride:
        options["output_stride"] = config.output_stride
    if checkpoint:
        options |= _trained_grid(checkpoint) if vit else {}
        options |= checkpoint.timm_kwargs
    options |= more
    with torch.random.fork_rng(devices=[]), unfilled(checkpoint is not None):
        torch.manual_seed(seed)
        model = _create(name, pretrained=published, options=options)
    about = {
        "mean": tuple(model.pretrained_cfg["mean"]),
        "std": tuple(model.pretrained_cfg["std"]),
        "licence": (model.pretrained_cfg.get("license") if published else None) or "unknown",
        "weights_from": "published" if published else _origin(checkpoint, seed),
    }
    return model, about | _normalisation(checkpoint)


def _refuse_output_stride(config: BackboneConfig, name: str) -> None:
    if config.output_stride:
        raise ConfigError(f"output_stride is for CNNs, but {name} is a ViT", hint="leave it at 0")


def _create(name: str, *, pretrained: bool, options: Mapping[str, Any]) -> Any:
    import timm

    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (AssertionError, TypeError, RuntimeError, ValueError) as error:
        if "output_stride" in options:
            why = str(error) or "refused by timm"
            raise ConfigError(
                f"{name} does not take the output stride {options['output_stride']} ({why})",
                hint="0 leaves the strides as they are; ResNets, RegNets, ConvNeXts and MobileNets take 8, 16 and 32",
            ) from error
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
