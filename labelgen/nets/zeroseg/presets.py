"""Settings of a ZeroSeg student under a name, the published ones among them; light, free of torch."""

from dataclasses import dataclass, replace
from typing import Any

from labelgen.errors import ConfigError
from labelgen.nets.presets import refuse_rest, take_fields
from labelgen.nets.zeroseg.config import LabellingConfig, LossConfig, StudentConfig, TrainingConfig

__all__ = ["FROM_TEACHER", "PRESETS", "Preset", "preset"]

FROM_TEACHER = "teacher"
"""In `Preset.init`: the encoder starts as the image tower of the teacher."""


@dataclass(frozen=True)
class Preset:
    """Named settings of a student from its start to its labels.

    Parameters
    ----------
    student, training, labelling
        The settings.
    init
        Where the encoder starts: a backbone, `teacher` for the teacher's image tower, whose form it then has, or empty
        for random weights.
    """

    student: StudentConfig
    training: TrainingConfig
    labelling: LabellingConfig
    init: str


PRESETS: dict[str, Preset] = {
    "paper": Preset(StudentConfig(), TrainingConfig(), LabellingConfig(), init=""),
    "demo": Preset(
        StudentConfig(
            image_size=128,
            patch=8,
            stem="convolutional",
            class_token=False,
            width=160,
            depth=6,
            heads=5,
            decoder_width=96,
            decoder_depth=2,
            decoder_heads=3,
            stages=(64, 16),
            centre=True,
            mean=(0.45, 0.45, 0.45),
            std=(0.25, 0.25, 0.25),
        ),
        TrainingConfig(
            mask=0.3,
            batch=16,
            noise=0.0,
            epochs=40,
            warmup=0.1,
            lr=2e-3,
            body_rate=0.03,
            losses=LossConfig(distill=0.1, match=0.25, locate=1.0),
        ),
        LabellingConfig(short_side=160, crop=128, stride=32, top_k=0),
        init=FROM_TEACHER,
    ),
}
"""`paper`: ViT-B/16 at 224 pixels, 4096 images a step for 80 epochs, nothing but what is published.

`demo`: a student of minutes for the 160 demo scenes. With so few images and steps the published losses alone make all
segments alike (`benchmarks/zeroseg_demo.py` has the figures), so it starts as the image tower of its teacher, groups
centred tokens without noise, changes what it starts from slowly, hides fewer patches, has more segments, and a term
that ties each to its place. The sizes of its encoder, those of demo-ssvt, hold for `init="demo-ssvt"`.
"""


def preset(name: str, **changes: Any) -> Preset:
    """A preset with some of its settings, of any of its parts, changed.

    Parameters
    ----------
    changes
        Fields of `StudentConfig`, `TrainingConfig`, `LossConfig`, `LabellingConfig` or `Preset`; None leaves one as it
        is.

    Raises
    ------
    ConfigError
        When there is no such preset, or no such setting.

    Examples
    --------
    >>> changed = preset("demo", mask=0.5, stages=(16, 4), distill=2.0)
    >>> changed.training.mask, changed.student.stages, changed.training.losses.distill, changed.training.batch
    (0.5, (16, 4), 2.0, 16)
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", hint=f"presets: {', '.join(PRESETS)}")
    chosen, changes = PRESETS[name], {key: value for key, value in changes.items() if value is not None}
    losses = take_fields(chosen.training.losses, changes)
    training = replace(take_fields(chosen.training, changes), losses=losses)
    student, labelling = take_fields(chosen.student, changes), take_fields(chosen.labelling, changes)
    chosen = replace(take_fields(chosen, changes), student=student, training=training, labelling=labelling)
    refuse_rest(changes)
    return chosen
