"""`labelgen clip-models`: the image-text models to choose from, and what is at hand."""

from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import JsonFlag, print_json, print_table
from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.clip.catalogue import CLIP_CATALOGUE, KnownClip
from labelgen.nets.dense_clip.names import METHODS

__all__ = ["clip_models"]


def clip_models(
    *,
    all_names: Annotated[str, Parameter(name="--all")] = "",
    cache_dir: str = "",
    as_json: JsonFlag = False,
) -> None:
    """List image-text models with licence, size, and whether their weights are on this machine.

    --json also names the dense methods that each image tower can run, and packages that its tokenizer needs.

    Parameters
    ----------
    all_names
        Instead, all of open_clip's published weights whose model or tag contains this text, such as 'SigLIP2'.
    cache_dir
        Folder of downloaded weights. Default: that of the hub.

    Examples
    --------
    labelgen clip-models
    labelgen clip-models --all SigLIP2
    """
    if all_names:
        _print_published(all_names, cache_dir, as_json=as_json)
        return
    rows = [_facts(known, cache_dir) for known in CLIP_CATALOGUE]
    if as_json:
        print_json(rows)
        return
    columns = ("model", "weights", "licence", "parameters (M)", "patch", "pixels", "channels", "activation")
    print_table((*columns, "dense methods", "MB", "at hand"), [_shown(row) for row in rows])


def _facts(known: KnownClip, cache_dir: str) -> dict[str, Any]:
    """The row with what is on this machine."""
    row = {**vars(known), "megabytes": known.megabytes, "at_hand": _at_hand(known.name, known.pretrained, cache_dir)}
    row |= {} if known.pretrained else _measured(known)
    return {**row, "methods": list(row["methods"]), "needs": list(known.needs)}


def _at_hand(name: str, tag: str, cache_dir: str) -> str:
    """`shipped`, `cached`, `damaged` or `download`."""
    from labelgen.nets.clip.hub import clip_weights_at_hand

    if not tag:
        return "shipped"
    try:
        return "cached" if clip_weights_at_hand(name, tag, cache_dir=cache_dir) else "download"
    except WeightsError:
        return "damaged"


def _measured(known: KnownClip) -> dict[str, Any]:
    """Read the facts of the shipped model from the model itself."""
    from labelgen.nets.clip.config import ClipModelConfig
    from labelgen.nets.clip.model import load_clip
    from labelgen.nets.dense_clip import tower_of

    clip = load_clip(ClipModelConfig(known.name, device="cpu"))
    tower = tower_of(clip.model)
    return {
        "parameters": round(sum(tensor.numel() for tensor in clip.model.parameters()) / 1e6, 1),
        "patch": tower.patch,
        "size": clip.native_size[0],
        "dim": clip.embed_dim,
        "activation": clip.activation,
        "methods": tower.methods,
    }


def _shown(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("name", "pretrained", "licence", "parameters", "patch", "size", "dim", "activation")
    methods = "all" if tuple(row["methods"]) == METHODS else f"{len(row['methods'])} of {len(METHODS)}"
    return (*(row[name] or "-" for name in names), methods, row["megabytes"] or "-", row["at_hand"])


def _print_published(pattern: str, cache_dir: str, *, as_json: bool) -> None:
    from labelgen.nets.clip.open_clip_import import import_open_clip

    pairs = import_open_clip().list_pretrained()
    chosen = [(name, tag) for name, tag in pairs if pattern.lower() in f"{name} {tag}".lower()]
    if not chosen:
        raise ConfigError(f"open_clip has no published weights with {pattern!r} in model or tag", hint="try ViT-B-16")
    rows = [{"name": name, "pretrained": tag, "at_hand": _at_hand(name, tag, cache_dir)} for name, tag in chosen]
    if as_json:
        print_json(rows)
    else:
        print_table(("model", "weights", "at hand"), [tuple(row.values()) for row in rows])
