"""Where an image-text model comes from: the package, a file, a folder, the cache of the hub, or the hub itself."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.clip.checkpoint import ClipCheckpoint, likely_architectures, read_clip_checkpoint
from labelgen.nets.clip.config import DEMO_CLIP, LOCAL_DIR, ClipModelConfig
from labelgen.nets.clip.hub import HUB_FILES, UNKNOWN_LICENCE, clip_weights_at_hand, fetch_clip_weights, licence_of
from labelgen.nets.clip.names import (
    Preprocess,
    architecture,
    base_name,
    default_tag,
    preprocess_of,
    published,
    published_as,
    quick_name,
    shared_preprocess,
    with_activation,
)
from labelgen.untrusted import parse_json, read_bounded

__all__ = ["ClipSource", "find_clip"]

LOG = logging.getLogger(__name__)

FOLDER_CONFIG = "open_clip_config.json"


@dataclass(frozen=True)
class ClipSource:
    """All that is needed to build a model and load its weights.

    Parameters
    ----------
    name
        open_clip's name of the architecture, with its ending for QuickGELU; demo-clip; or the name of a folder.
    config
        open_clip's config: `embed_dim`, `vision_cfg`, `text_cfg`, `quick_gelu`, ...
    preprocess
        How images are shown to it.
    pretrained
        Tag of published weights; may be empty.
    checkpoint
        The weights, or None for those that are shipped or random.
    weights_from
        `published`, `shipped`, `file:<name>`, `folder:<name>` or `random:seed<n>`.
    licence
        Of the weights where it is known.
    tokenizer
        `local-dir:` with the folder of model and tokenizer; for other models their name.
    """

    name: str
    config: Mapping[str, Any]
    preprocess: Preprocess
    pretrained: str = ""
    checkpoint: ClipCheckpoint | None = None
    weights_from: str = "published"
    licence: str = UNKNOWN_LICENCE
    tokenizer: str = field(default="")


def find_clip(config: ClipModelConfig, *, pretrained: bool = True, seed: int = 0) -> ClipSource:
    """Settle which model a config means, and read its weights.

    Parameters
    ----------
    pretrained
        False leaves weights away, so that random ones can be used.
    seed
        Of the random weights, for the record.

    Raises
    ------
    ConfigError
        When the model or tag is unknown.
    WeightsError
        When weights are missing, cannot be fetched, or cannot be read.
    """
    if not pretrained:
        return _random(config, seed)
    if config.is_folder:
        return _from_folder(Path(config.weights.removeprefix(LOCAL_DIR)).expanduser())
    if config.weights:
        return _from_file(config)
    if config.name == DEMO_CLIP:
        return _demo(weights_from="shipped")
    return _from_hub(config)


def _demo(*, weights_from: str, checkpoint: ClipCheckpoint | None = None) -> ClipSource:
    from labelgen.nets.demo_clip import DEMO_CLIP_CONFIG, DEMO_CLIP_MEAN, DEMO_CLIP_STD

    seen = Preprocess(mean=DEMO_CLIP_MEAN, std=DEMO_CLIP_STD)
    licence = UNKNOWN_LICENCE if checkpoint else "MIT (shipped)"
    return ClipSource(
        DEMO_CLIP, DEMO_CLIP_CONFIG, seen, checkpoint=checkpoint, weights_from=weights_from, licence=licence
    )


def _random(config: ClipModelConfig, seed: int) -> ClipSource:
    origin = f"random:seed{seed}"
    name = config.name
    if config.is_folder:
        folder = Path(config.weights.removeprefix(LOCAL_DIR)).expanduser()
        model, seen = _read_folder_config(folder)
        return ClipSource(folder.name, model, seen, weights_from=origin, tokenizer=config.weights)
    if name in ("", DEMO_CLIP):
        return _demo(weights_from=origin)
    return ClipSource(name, architecture(name), shared_preprocess(name)[0], weights_from=origin, tokenizer=name)


def _from_hub(config: ClipModelConfig) -> ClipSource:
    name = config.name
    model = architecture(name)
    tag = config.pretrained or default_tag(name)
    entry = published(name, tag)
    path = clip_weights_at_hand(name, tag, cache_dir=config.cache_dir) or fetch_clip_weights(
        name, tag, cache_dir=config.cache_dir
    )
    name, model = with_activation(name, model, quick=entry.get("quick_gelu", False))
    licence = licence_of(tag, entry)
    seen, checkpoint = preprocess_of(entry), read_clip_checkpoint(path)
    return ClipSource(name, model, seen, pretrained=tag, checkpoint=checkpoint, licence=licence, tokenizer=name)


def _from_file(config: ClipModelConfig) -> ClipSource:
    path = Path(config.weights).expanduser()
    checkpoint = read_clip_checkpoint(path)
    name = _name_for(config, checkpoint)
    origin = f"file:{path.name}"
    if name == DEMO_CLIP:
        return _demo(weights_from=origin, checkpoint=checkpoint)
    model = architecture(name)
    known = published_as(path)
    entry: Mapping[str, Any] = known[2] if known else {}
    beside = _config_beside(path)
    own = (beside or ({}, {}))[0]
    name, model = with_activation(name, model, quick=_is_quick(name, model, checkpoint, {**own, **entry}))
    seen = _seen_by(name, path, entry or (beside or ({}, {}))[1])
    return ClipSource(name, model, seen, checkpoint=checkpoint, weights_from=origin, tokenizer=name)


def _name_for(config: ClipModelConfig, checkpoint: ClipCheckpoint) -> str:
    name = config.name or str(checkpoint.about.get("model", ""))
    if name:
        return name
    fitting = likely_architectures(checkpoint.state)
    raise ConfigError(
        f"which model do the weights in {checkpoint.path} belong to?",
        hint=f"by their shapes, --model {' or --model '.join(fitting[:3])}" if fitting else "name it with --model",
    )


def _config_beside(path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Model and preprocessing that a download of a whole repository leaves beside the weights."""
    file = path.parent / FOLDER_CONFIG
    if not file.is_file():
        return None
    about = _read_json(file)
    return about.get("model_cfg", {}), about.get("preprocess_cfg", {})


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = parse_json(read_bounded(file))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}", hint="it must be open_clip's JSON") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{file} must hold one JSON object", hint="it must be open_clip's JSON")
    return found


def _is_quick(name: str, model: Mapping[str, Any], checkpoint: ClipCheckpoint, known: Mapping[str, Any]) -> bool:
    """Whether weights from a file were trained with QuickGELU, as far as that can be known."""
    if model.get("quick_gelu"):
        if known and not known.get("quick_gelu") and not checkpoint.by_openai and name != base_name(name):
            raise WeightsError(
                f"{checkpoint.path} holds weights that were trained with GELU, but {name} computes with QuickGELU",
                hint=f"--model {base_name(name)}",
            )
        return True
    if known or checkpoint.by_openai:
        return checkpoint.by_openai or bool(known.get("quick_gelu"))
    if quick_name(name) != name:
        LOG.warning(
            "%s does not say with which activation it was trained: computing with GELU. Weights of OpenAI, MetaCLIP "
            "or DFN need --model %s",
            checkpoint.path,
            quick_name(name),
        )
    return False


def _seen_by(name: str, path: Path, own: Mapping[str, Any]) -> Preprocess:
    if own:
        return preprocess_of(own)
    seen, agreed = shared_preprocess(name)
    if not agreed:
        LOG.warning(
            "published weights of %s differ in preprocessing; for %s that of most is taken: %s", name, path, seen
        )
    return seen


def _from_folder(folder: Path) -> ClipSource:
    model, seen = _read_folder_config(folder)
    files = [*HUB_FILES, "open_clip_pytorch_model.safetensors", "model.safetensors", "pytorch_model.bin"]
    found = [folder / file for file in files if (folder / file).is_file()]
    if not found:
        raise WeightsError(
            f"{folder} must hold weights, but there is none of {', '.join(files)}",
            hint="download the whole repository, or give the file: --model NAME --weights FILE",
        )
    return ClipSource(
        name=folder.resolve().name,
        config=model,
        preprocess=seen,
        checkpoint=read_clip_checkpoint(found[0]),
        weights_from=f"folder:{folder.resolve().name}",
        tokenizer=f"{LOCAL_DIR}{folder}",
    )


def _read_folder_config(folder: Path) -> tuple[dict[str, Any], Preprocess]:
    if not (folder / FOLDER_CONFIG).is_file():
        raise WeightsError(
            f"{LOCAL_DIR}FOLDER must hold {FOLDER_CONFIG}, which {folder} does not",
            hint="download the whole repository: hf download ORGANISATION/NAME --local-dir FOLDER",
        )
    about = _read_json(folder / FOLDER_CONFIG)
    if not all(key in about.get("model_cfg", {}) for key in ("embed_dim", "vision_cfg", "text_cfg")):
        raise WeightsError(f"{folder / FOLDER_CONFIG} must describe a model: model_cfg with vision_cfg and text_cfg")
    return about["model_cfg"], preprocess_of(about.get("preprocess_cfg", {}))
