"""Settings of image-level classifiers under a name, the published ones among them; light, free of torch."""

from dataclasses import dataclass, fields, replace
from typing import Any

from labelgen.errors import ConfigError
from labelgen.nets.cam.config import METHODS, EpsConfig, NetworkConfig, SeamConfig, TrainingConfig
from labelgen.nets.presets import refuse_rest, take_fields

__all__ = ["PAPER_PRESETS", "PRESETS", "Preset", "preset"]


@dataclass(frozen=True)
class Preset:
    """Named settings of a classifier."""

    network: NetworkConfig
    training: TrainingConfig


DILATED = NetworkConfig(backbone="resnet50.tv_in1k", output_stride=8, freeze=2, dropout=0.5)
"""In the place of the wide ResNet-38 of PSA, SEAM and EPS, which timm does not have: stride 8, early stages frozen."""

PRESETS: dict[str, Preset] = {
    "psa": Preset(DILATED, TrainingConfig(batch=16, epochs=15, lr=0.1)),
    "irn": Preset(
        NetworkConfig(backbone="resnet50.tv_in1k", output_stride=16, freeze=3),
        TrainingConfig(
            batch=16, epochs=5, lr=0.1, bias_rate=1.0, weight_decay=1e-4, crop=512, long_side=(320, 640), jitter=0.0
        ),
    ),
    "seam": Preset(DILATED, TrainingConfig(batch=8, epochs=8, lr=0.01)),
    "eps": Preset(DILATED, TrainingConfig(batch=8, iterations=20_000, lr=0.01, long_side=(256, 512))),
    "demo": Preset(
        NetworkConfig(freeze=3),
        TrainingConfig(
            batch=16, epochs=15, optimiser="adamw", lr=3e-4, bias_rate=1.0, weight_decay=0.05, schedule="cosine",
            warmup=0.1, crop=128, long_side=(112, 208), seam=SeamConfig(scale=0.5, gate_correlation=True),
        ),
    ),
}  # fmt: skip
"""The schedules of PSA, IRN, SEAM and EPS (for VOC), and `demo`: minutes for the demo scenes, from demo-ssvt.

`demo` keeps the first half of the blocks as they are. Its second view for SEAM is half as large as the first, as three
tenths of a scene are 5 x 6 patches; and it lets only tagged classes compete before they are correlated, since each map
is divided by its maximum there and an absent class else takes as much as a present one. `benchmarks/cam_demo.py` has
the figures.
"""

PAPER_PRESETS: dict[str, str] = {"cam": "irn", "seam": "seam", "eps": "eps"}
"""What the preset `paper` means for each method."""


def preset(name: str, method: str, **changes: Any) -> Preset:
    """A preset with some of its settings, of any of its parts, changed.

    Parameters
    ----------
    name
        A key of `PRESETS`, or `paper` for the published one of the method.
    changes
        Fields of `NetworkConfig`, `TrainingConfig`, `SeamConfig` or `EpsConfig`; None leaves one as it is.

    Raises
    ------
    ConfigError
        When there is no such preset, method or setting, or a setting is of another method or has no say.

    Examples
    --------
    >>> changed = preset("paper", "seam", scale=0.5, crop=321)
    >>> changed.training.seam.scale, changed.training.crop, changed.training.batch, changed.network.output_stride
    (0.5, 321, 8, 8)
    """
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}", hint=f"methods: {', '.join(METHODS)}")
    name = PAPER_PRESETS[method] if name == "paper" else name
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", hint=f"presets: paper, {', '.join(PRESETS)}")
    chosen, changes = PRESETS[name], {key: value for key, value in changes.items() if value is not None}
    _refuse_foreign(method, changes)
    given = set(changes)
    parts = {part: take_fields(getattr(chosen.training, part), changes) for part in ("seam", "eps")}
    training = replace(take_fields(chosen.training, changes), **parts)
    chosen = Preset(take_fields(chosen.network, changes), training)
    refuse_rest(changes)
    _refuse_unused(given, training)
    return chosen


def _refuse_unused(given: set[str], training: TrainingConfig) -> None:
    """Refuse settings that have no say beside the others."""
    sgd, poly = training.optimiser == "sgd", training.schedule == "poly"
    unused = {
        "momentum": (training.momentum_rule == "released", "--momentum-rule stated"),
        "momentum_rule": (not sgd, "--optimiser sgd"),
        "power": (not poly, "--schedule poly"),
        "warmup": (poly, "--schedule cosine"),
        "epochs": (bool(training.iterations), "--iterations 0"),
    }
    for name, (idle, hint) in unused.items():
        if name in given and idle:
            raise ConfigError(f"{name} has no say beside the other settings", hint=f"leave it out, or {hint}")


def _refuse_foreign(method: str, changes: dict[str, Any]) -> None:
    """Refuse settings of losses that this method does not have, which would do nothing."""
    for owner, config in (("seam", SeamConfig), ("eps", EpsConfig)):
        foreign = sorted({field.name for field in fields(config)} & set(changes)) if owner != method else []
        if foreign:
            raise ConfigError(
                f"{foreign[0]} is a setting of {owner}, but the method is {method}", hint=f"--method {owner}"
            )
