"""What a user left open about zero-shot labels, filled in from preset, model and vocabulary; no torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labelgen.data.dataset import Dataset
from labelgen.errors import ConfigError
from labelgen.methods.clip import ClipConfig
from labelgen.methods.clip_presets import find_preset
from labelgen.nets.backbone_config import DEMO_BACKBONE
from labelgen.nets.clip.config import REAL_CLIP, ClipModelConfig
from labelgen.nets.dense_clip.names import BETA, DEPTH, DUAL_PATH, GAMMA, STD
from labelgen.vocab import Vocabulary

__all__ = ["is_settled", "model_of", "settle", "with_preset"]

PROXY_BACKBONE = "vit_base_patch8_224.dino"  # as ProxyCLIP
METHOD = "naclip"  # best of those without another network, and its code is free to use
SCALE = 40.0  # as NACLIP and ProxyCLIP; the paper of MaskCLIP uses the learned 100
BACKGROUND_THRESHOLD = 0.1  # as SCLIP and NACLIP
CERTAINTY = 0.99  # as CLIP-DINOiser
CALIBRATION_IMAGES = 500
TOP_K = 5  # as GroupViT
SEGMENTS = 8  # as the last stage of ZeroSeg
BATCH = 8
TILES_SIDE = 8 / 7  # of the native size: 256 for 224, as CLIP-DIY
WINDOWS_SIDE = 3 / 2  # of the native size: 336 for 224, as SCLIP and NACLIP
MODEL_FIELDS = frozenset({"model", "pretrained", "weights"})


def with_preset(config: ClipConfig) -> ClipConfig:
    """Fill what was left open from the preset; what was given, and what follows from it, wins.

    Examples
    --------
    >>> config = with_preset(ClipConfig(preset="naclip-voc21", scale=50.0))
    >>> config.scale, config.short_side, config.background_threshold
    (50.0, 336, 0.1)
    """
    if not config.preset:
        return config
    given, settings = config.given(), dict(find_preset(config.preset).settings)
    if given & MODEL_FIELDS:
        settings = {name: value for name, value in settings.items() if name not in MODEL_FIELDS}
    if "text_embeddings" in given:
        settings.pop("templates", None)
    if "crop" in given:
        settings.pop("stride", None)  # belongs to the crop of the preset
    filled = replace(config, **{name: value for name, value in settings.items() if name not in given})
    # What the preset says of a method, or of a way to find background, that the user has replaced, has no say.
    idle = set(_idle(filled)) & settings.keys() - given
    return replace(filled, **{name: getattr(config, name) for name in idle})


def model_of(config: ClipConfig, *, demo: bool) -> ClipModelConfig:
    """The image-text model: the one that was named, else the one that suits the data."""
    model, pretrained = config.model, config.pretrained
    if not (model or config.weights or demo):
        model = REAL_CLIP
    return ClipModelConfig(
        model=model,
        pretrained=pretrained,
        weights=config.weights,
        dtype=config.dtype,
        device=config.device,
        cache_dir=config.cache_dir,
    )


def is_demo(dataset: Dataset | None) -> bool:
    """Whether the demo models suit the data."""
    return dataset is not None and dataset.spec.kind == "demo"


def settle(
    config: ClipConfig,
    vocabulary: Vocabulary,
    *,
    demo: bool,
    model: ClipModelConfig,
    native: int,
    learned_scale: float,
    blocks: int = 0,
) -> ClipConfig:
    """Fill in everything that is still open, and refuse what contradicts or does nothing.

    Parameters
    ----------
    demo
        Whether the demo data are labelled.
    model
        As it was loaded.
    native
        Short side in pixels at which the model was trained.
    learned_scale
        That the model multiplies cosines with.
    blocks
        Of the image tower; 0 where no method asks for their number.

    Raises
    ------
    ConfigError
        When a setting is given that nothing uses, or that asks for more than there is.
    """
    config = with_preset(config)
    chosen = config.given()
    defaults: dict[str, Any] = {"method": METHOD, "fuse": "similarity", "activation": "softmax", "area": 0.0}
    defaults |= {"synonyms": "max-logit", "gate": "top-k" if config.method == "zeroseg-lite" else "none"}
    defaults["background"] = "none" if vocabulary.background is None else "words+threshold"
    defaults |= {} if config.text_embeddings else {"templates": "imagenet80"}
    config = _filled(config, defaults)
    config = _filled(config, _sizes(config, native))
    config = _filled(config, {"stride": (config.crop or 0) // 2})
    more: dict[str, Any] = {
        "scale": learned_scale if config.activation == "sigmoid" else SCALE,
        "background_threshold": BACKGROUND_THRESHOLD,
        "certainty": CERTAINTY,
        "negative_to": "unlabelled" if vocabulary.background is None else "background",
        "calibration_images": CALIBRATION_IMAGES,
        "top_k": TOP_K,
        "std": STD,
        "beta": BETA,
        "gamma": GAMMA,
        "depth": min(DEPTH, blocks or DEPTH),
        "batch": BATCH,
        "segments": SEGMENTS,
        "proxy_backbone": DEMO_BACKBONE if demo else PROXY_BACKBONE,
    }
    idle = _idle(config)
    for name in sorted(set(idle) & chosen):
        flag = f"--{name.replace('_', '-')}"
        raise ConfigError(f"{name} {idle[name]}, got {getattr(config, name)!r}", hint=f"leave {flag} out")
    config = _filled(config, {name: value for name, value in more.items() if name not in idle})
    _refuse_gaps(config, vocabulary)
    _refuse_depth(config, blocks)
    return replace(
        config,
        model=model.model,
        pretrained=model.pretrained,
        weights=model.weights,
        device=model.device,
        dtype=model.dtype,
    )


def _refuse_depth(config: ClipConfig, blocks: int) -> None:
    if blocks and config.depth is not None and config.depth > blocks:
        raise ConfigError(
            f"depth must not exceed the {blocks} blocks of the image tower, got {config.depth}",
            hint=f"--depth {blocks} gives all of them a second path",
        )


def is_settled(config: ClipConfig) -> bool:
    """Whether `settle` has been here."""
    return {"method", "short_side", "crop", "stride", "scale", "background", "synonyms", "gate"} <= config.given()


def _filled(config: ClipConfig, values: Mapping[str, Any]) -> ClipConfig:
    given = config.given()
    return replace(config, **{name: value for name, value in values.items() if name not in given})


def _sizes(config: ClipConfig, native: int) -> dict[str, int]:
    if config.method == "tiles":
        return {"short_side": round(TILES_SIDE * native), "crop": 0}
    if config.method == "zeroseg-lite":
        return {"short_side": round(WINDOWS_SIDE * native), "crop": 0}
    return {"short_side": round(WINDOWS_SIDE * native), "crop": native}


def _idle(config: ClipConfig) -> dict[str, str]:
    """Settings that have no say beside the others, and why."""
    method, background = config.method or METHOD, config.background or ""
    alone = method in ("tiles", "zeroseg-lite")
    rules = {
        "std": (method != "naclip", "belongs to the method naclip"),
        "beta": (method != "proxy", "belongs to the method proxy"),
        "gamma": (method != "proxy", "belongs to the method proxy"),
        "depth": (method not in DUAL_PATH, f"belongs to the methods {' and '.join(DUAL_PATH)}"),
        "proxy_backbone": (method not in ("proxy", "zeroseg-lite"), "belongs to the methods proxy and zeroseg-lite"),
        "proxy_weights": (method not in ("proxy", "zeroseg-lite"), "belongs to the methods proxy and zeroseg-lite"),
        "segments": (method != "zeroseg-lite", "belongs to the method zeroseg-lite"),
        "crop": (alone and bool(config.crop), f"has no say with the method {method}"),
        "stride": (bool(config.stride) and (alone or config.crop == 0), "needs windows, that is a crop"),
        "batch": (config.crop == 0 and not alone, "needs windows, that is a crop"),
        "fuse": (
            config.fuse == "feature" and (alone or config.crop == 0),
            f"feature has no say with the method {method}" if alone else "feature needs windows, that is a crop",
        ),
        "synonyms": (
            config.activation == "sigmoid" and config.synonyms == "compat",
            "compat, a softmax over all prompts, does not go with sigmoid",
        ),
        "background_words": ("words" not in background, "needs a background of words"),
        "background_threshold": ("threshold" not in background, "needs a background of threshold or words+threshold"),
        "saliency": (background != "saliency", "needs the background of saliency"),
        "certainty": (background != "saliency", "needs the background of saliency"),
        "negative_to": (not config.negative, "needs negative words"),
        "calibration_images": (
            not config.ignore_quantile and config.background_threshold != "auto",
            "needs ignore_quantile or background_threshold auto",
        ),
        "top_k": (config.gate != "top-k", "needs the gate top-k"),
        "image_similarity": (config.gate != "similarity", "needs the gate similarity"),
    }
    return {name: reason for name, (is_idle, reason) in rules.items() if is_idle}


def _refuse_gaps(config: ClipConfig, vocabulary: Vocabulary) -> None:
    """Refuse what cannot work with this vocabulary or lacks its other half."""
    if vocabulary.background is None and config.background in ("threshold", "words+threshold", "saliency"):
        raise ConfigError(
            f"background {config.background} needs a background class, and the vocabulary {vocabulary.name!r} has none",
            hint="--background none; or a vocabulary with one; or --ignore-threshold to leave pixels unlabelled",
        )
    if vocabulary.background is None and config.negative and config.negative_to == "background":
        raise ConfigError(f"negative_to background needs a background class, and {vocabulary.name!r} has none")
    if config.background == "saliency" and not config.saliency:
        raise ConfigError("background saliency needs saliency maps", hint="--saliency FOLDER with ID.png")
    if config.gate == "similarity" and config.image_similarity is None:
        raise ConfigError("the gate similarity needs a cosine", hint="--image-similarity 0.2")
    threshold = config.background_threshold
    if isinstance(threshold, float | int) and 0 < config.ignore_threshold <= threshold:
        raise ConfigError(
            f"ignore_threshold must be above background_threshold, got {config.ignore_threshold} and {threshold}",
            hint="pixels below the latter are background already",
        )
