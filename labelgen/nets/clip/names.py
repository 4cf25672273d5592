"""Names, tags and published facts of image-text models, as open_clip's own tables have them."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.errors import ConfigError
from labelgen.nets.clip.config import DEMO_CLIP
from labelgen.nets.clip.open_clip_import import import_open_clip

__all__ = [
    "Preprocess",
    "architecture",
    "base_name",
    "default_tag",
    "preprocess_of",
    "published",
    "published_as",
    "quick_name",
    "shared_preprocess",
    "with_activation",
]

QUICK = "-quickgelu"
"""Ending of open_clip's names for architectures with the activation x * sigmoid(1.702 x)."""

DEFAULT_TAG = "openai"


@dataclass(frozen=True)
class Preprocess:
    """How an image is shown to a model.

    Parameters
    ----------
    mean, std
        Normalisation of RGB in [0, 1].
    interpolation
        `bicubic` or `bilinear`.
    resize_mode
        `shortest`: the short side is fitted and the centre cut out; `squash`: both sides are fitted.

    Raises
    ------
    ConfigError
        When the model asks for another way.
    """

    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's training images
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def __post_init__(self) -> None:
        if self.interpolation not in ("bicubic", "bilinear") or self.resize_mode not in ("shortest", "squash"):
            raise ConfigError(
                "images must be resized by bicubic or bilinear interpolation, to the shortest side or squashed, "
                f"got {self.interpolation} and {self.resize_mode}"
            )


def preprocess_of(entry: Mapping[str, Any]) -> Preprocess:
    """Preprocessing out of an entry of open_clip's table, or of the `preprocess_cfg` of a model folder."""
    known = {key: entry[key] for key in ("interpolation", "resize_mode") if entry.get(key)}
    scales: dict[str, Any] = {key: tuple(float(v) for v in entry[key]) for key in ("mean", "std") if entry.get(key)}
    return Preprocess(**known, **scales)


def architecture(name: str) -> dict[str, Any]:
    """Return open_clip's config of a model.

    Raises
    ------
    ConfigError
        When open_clip has no such model; the hint names those that read alike.
    """
    open_clip = import_open_clip()
    config = open_clip.get_model_config(name) if ":" not in name else None
    if config is None:
        near = _nearest(name, [DEMO_CLIP, *open_clip.list_models()])
        raise ConfigError(
            f"open_clip has no model called {name!r}",
            hint=f"did you mean {near}?" if near else "labelgen clip-models lists models",
        )
    return config


def default_tag(name: str) -> str:
    """Tag of the weights that a model gets when none is asked for: `openai`, or the only one there is.

    Raises
    ------
    ConfigError
        When there is no such default.
    """
    tags = import_open_clip().list_pretrained_tags_by_model(name)
    if DEFAULT_TAG in tags:
        return DEFAULT_TAG
    if len(tags) == 1:
        return tags[0]
    if not tags:
        raise ConfigError(f"open_clip knows no published weights of {name}", hint="give a checkpoint: --weights FILE")
    raise ConfigError(f"{name} has several sets of weights; choose one with --pretrained", hint=", ".join(tags))


def published(name: str, tag: str) -> dict[str, Any]:
    """Return open_clip's entry for published weights: where they lie, preprocessing, activation.

    Raises
    ------
    ConfigError
        When there is no such tag for that model; the hint names the nearest, or the model that it belongs to.
    """
    open_clip = import_open_clip()
    entry = open_clip.get_pretrained_cfg(name, tag)
    if entry:
        return entry
    tags = open_clip.list_pretrained_tags_by_model(name)
    owners = open_clip.list_pretrained_models_by_tag(tag)
    if base_name(name) in owners:
        hint = f"those weights were trained with GELU, not QuickGELU: --model {base_name(name)} --pretrained {tag}"
    elif near := _nearest(tag, tags):
        hint = f"did you mean {near}?"
    else:
        hint = "it has " + ", ".join(tags) if tags else "none are published; give a checkpoint: --weights FILE"
        if owners:
            hint += f"; {tag} belongs to {', '.join(owners[:4])}"
    raise ConfigError(f"{name} has no published weights called {tag!r}", hint=hint)


def base_name(name: str) -> str:
    """Name of the architecture without the ending that tells its activation.

    Examples
    --------
    >>> base_name("ViT-B-16-quickgelu")
    'ViT-B-16'
    """
    return name.removesuffix(QUICK)


def quick_name(name: str) -> str:
    """Name of the same architecture with QuickGELU, or the name itself where open_clip has no such variant."""
    quick = base_name(name) + QUICK
    return quick if quick in import_open_clip().list_models() else name


def with_activation(name: str, model: Mapping[str, Any], *, quick: bool) -> tuple[str, dict[str, Any]]:
    """Config of a model with the activation that its weights were trained with, and its name then.

    Parameters
    ----------
    model
        open_clip's config of `name`.
    quick
        Whether the weights were trained with QuickGELU. A config that asks for it by itself keeps it.
    """
    if not quick or model.get("quick_gelu"):
        return name, dict(model)
    return quick_name(name), {**model, "quick_gelu": True}


def shared_preprocess(name: str) -> tuple[Preprocess, bool]:
    """Preprocessing of most published weights of a model, for a checkpoint that does not tell its own.

    Returns
    -------
    tuple
        The preprocessing, and whether all published weights of that model agree on it.
    """
    open_clip = import_open_clip()
    tags = open_clip.list_pretrained_tags_by_model(name)
    counts = Counter(preprocess_of(open_clip.get_pretrained_cfg(name, tag)) for tag in tags)
    if not counts:
        return Preprocess(), True
    return counts.most_common(1)[0][0], len(counts) == 1


def published_as(path: Path) -> tuple[str, str, dict[str, Any]] | None:
    """Which published weights a file is, judged by its name or by the name of the repository that it lies in.

    Returns
    -------
    tuple or None
        Model, tag, and open_clip's entry; None for a file of unknown origin.
    """
    open_clip = import_open_clip()
    folders = {part.removeprefix("models--").replace("--", "/").rsplit("/", 1)[-1] for part in path.parts[:-1]}
    for name, tag in open_clip.list_pretrained():
        entry = open_clip.get_pretrained_cfg(name, tag)
        file = entry.get("url", "").rsplit("/", 1)[-1]
        repository = entry.get("hf_hub", "").strip("/").split("/")[1:2]
        if (file and file == path.name) or (repository and repository[0] in folders):
            return name, tag, entry
    return None


def _nearest(name: str, names: Iterable[str]) -> str:
    lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)
    return ", ".join(lower[found] for found in near)
