"""A backbone whose weights may change: float32, in eval mode, with gradients where tokens depend on a parameter."""

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from labelgen.errors import ConfigError
from labelgen.nets.architectures import is_vit
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import Backbone, load_backbone, parameter_hash
from labelgen.nets.training import unfuse_attention
from segprobe.baselines.network import BaselineModel, load_baseline
from segprobe.config import FitConfig
from segprobe.heads import Head
from segprobe.training import head_groups
from segprobe.tuning.groups import backbone_groups, matrix_groups
from segprobe.tuning.noise import ImageNoise, add_drop_path
from segprobe.tuning.precision import choose_amp

__all__ = ["TunedNetwork", "load_for_tuning", "load_trainable", "tunable", "untouched_hash", "with_present_hash"]

FEW_TOKENS = 400  # an image of demo-ssvt has 256: its step then takes three quarters of the time


@dataclass(frozen=True)
class TunedNetwork:
    """A backbone in training.

    Parameters
    ----------
    backbone
        Its model is changed by the training.
    config
        tune, amp, backbone_lr, layer_decay, drop_path and weight_decay are used.
    amp
        Arithmetic inside the network; float32 means no autocast.
    noise
        Where the random parts of the network draw from.
    """

    backbone: Backbone
    config: FitConfig
    amp: torch.dtype
    noise: ImageNoise

    def tokens(
        self, batch: Float[Tensor, "B channels height width"], rngs: Sequence[np.random.Generator] = ()
    ) -> Float[Tensor, "B h w D"]:
        """Tokens with gradients; `rngs`, one for each image, switch the random parts on."""
        device = self.backbone.device
        noise = self.noise.drawn_from(rngs, device) if rngs else contextlib.nullcontext()
        mixed = self.amp != torch.float32
        with noise, torch.autocast(device.type, dtype=self.amp if mixed else None, enabled=mixed):
            return self.backbone.trainable_tokens(batch)

    def groups(self, head: Head) -> list[dict[str, Any]]:
        """Parameter groups of head and network; a decoder learns at the rate of the head."""
        model = self.backbone.model
        encoder, decoder = getattr(model, "encoder", model), getattr(model, "decoder", None)
        return [
            *head_groups(head, self.config),
            *([] if decoder is None else matrix_groups(decoder, self.config.weight_decay)),
            *backbone_groups(
                encoder,
                coarse=not is_vit(encoder),
                factor=self.config.backbone_lr,
                decay=self.config.layer_decay,
                weight_decay=self.config.weight_decay,
            ),
        ]

    def scaler(self) -> torch.amp.GradScaler | None:
        """What keeps small gradients of float16 alive; other types need none."""
        return torch.amp.GradScaler(self.backbone.device.type) if self.amp == torch.float16 else None

    def trained_with(self, head: Head) -> dict[str, Any]:
        """What `train_head` is told besides the head: all that is trained, its groups, and the scaler of the loss."""
        everything = torch.nn.ModuleDict({"head": head, "backbone": self.backbone.model})
        return {"model": everything, "groups": self.groups(head), "scaler": self.scaler()}


def with_present_hash(backbone: Backbone) -> Backbone:
    """A backbone that was tuned, under the hash of its weights as they are now."""
    backbone.spec = replace(backbone.spec, weights_sha256=parameter_hash(backbone.model))
    return backbone


def load_trainable(config: BackboneConfig, fit: FitConfig, *, device: str, given: Backbone | None = None) -> Backbone:
    """Load the network that a fit trains: the backbone itself, or a baseline with it as encoder.

    Parameters
    ----------
    given
        The backbone, when it is loaded already, or the baseline; it stays as it is.
    """
    if not fit.baseline or (given is not None and given.spec.family == fit.baseline):
        return load_for_tuning(config, device=device, given=given)
    encoder = config if given is None else replace(given.config, dtype="float32")
    return load_baseline(fit.baseline, encoder, device=device, seed=fit.seed)


def load_for_tuning(config: BackboneConfig, *, device: str, given: Backbone | None = None) -> Backbone:
    """Load a backbone in float32, or copy the one that is given.

    Raises
    ------
    ConfigError
        When other arithmetic was asked for.
    """
    if given is not None and given.dtype == torch.float32:
        return copy.deepcopy(given)
    settings = given.config if given is not None else config
    if given is None and settings.dtype not in ("auto", "float32"):
        raise ConfigError(
            f"the parameters of a tuned backbone are float32, got dtype {settings.dtype}",
            hint="--amp chooses the arithmetic of its training",
        )
    return load_backbone(replace(settings, dtype="float32"), device=device)


def untouched_hash(backbone: Backbone, fit: FitConfig) -> str:
    """Hash of what a fit must leave as it is: the backbone, the encoder of a baseline, or nothing when tuned."""
    if fit.tune:
        return ""
    return parameter_hash(backbone.model.encoder if fit.baseline else backbone.model)


def tunable(backbone: Backbone, config: FitConfig) -> TunedNetwork:
    """Open a float32 backbone for training, in place; of a baseline only the decoder unless the encoder is tuned.

    Parameters that no token depends on, such as those of blocks behind the last one that is read, stay as they are.

    Raises
    ------
    ConfigError
        When drop-path is asked of a network that has no place for it.
    """
    model = backbone.model
    noise = model.noise if isinstance(model, BaselineModel) else ImageNoise()
    if config.drop_path:
        add_drop_path(model, config.drop_path, noise)
    amp = choose_amp(config.amp, backbone.device)
    if backbone.device.type == "cpu" and amp == torch.bfloat16 and _sees_few_tokens(backbone):
        unfuse_attention(model)
    model.eval().requires_grad_(True)
    if not config.tune:
        model.encoder.requires_grad_(False)
    side = 4 * backbone.spec.multiple
    backbone.trainable_tokens(torch.zeros(1, 3, side, side)).sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
    return TunedNetwork(backbone, config, amp, noise)


def _sees_few_tokens(backbone: Backbone) -> bool:
    """Whether plain attention, in which every two tokens meet in memory, is cheap enough; it is faster in bfloat16."""
    return 0 < (backbone.config.size // backbone.spec.stride) ** 2 <= FEW_TOKENS
