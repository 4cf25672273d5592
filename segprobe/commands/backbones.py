"""`segprobe backbones`: what there is to choose from, and what is at hand."""

from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import JsonFlag, print_json, print_table
from labelgen.errors import ConfigError
from labelgen.nets.catalogue import CATALOGUE, KnownBackbone

__all__ = ["backbones"]

AT_HAND = {True: "yes", False: "download", None: "--weights FILE"}


def backbones(*, all_names: Annotated[str, Parameter(name="--all")] = "", as_json: JsonFlag = False) -> None:
    """List backbones with licence, size, and whether their weights are on this machine.

    Parameters
    ----------
    all_names
        Instead, the names of all pretrained timm models that contain this pattern, such as 'small*dinov2'.

    Examples
    --------
    segprobe backbones
    segprobe backbones --all 'small*dinov2'
    """
    if all_names:
        _print_timm(all_names, as_json=as_json)
        return
    rows = [_facts(known) for known in CATALOGUE]
    if as_json:
        print_json(rows)
        return
    columns = ("backbone", "trained by", "licence", "million parameters", "patch", "channels", "MB", "at hand")
    print_table(columns, [_shown(row) for row in rows])


def _facts(known: KnownBackbone) -> dict[str, Any]:
    """The row with what is on this machine."""
    from labelgen.nets.published import published_at_hand

    if known.source == "shipped":
        return {**vars(_measured(known)), "at_hand": True}
    if known.source == "file":
        return {**vars(known), "at_hand": None}
    return {**vars(known), "at_hand": published_at_hand(known.name) is not None}


def _measured(known: KnownBackbone) -> KnownBackbone:
    """Fill in the facts of the shipped backbone from the model itself."""
    from labelgen.nets.backbones import BackboneConfig, load_backbone

    backbone = load_backbone(BackboneConfig(known.name))
    tensors = [*backbone.model.parameters(), *backbone.model.buffers()]
    millions = round(sum(tensor.numel() for tensor in tensors) / 1e6, 1)
    return replace(known, parameters=millions, patch=backbone.spec.stride, dim=backbone.spec.dim)


def _shown(row: dict[str, Any]) -> tuple[Any, ...]:
    size = row["megabytes"] or "-"
    facts = (row["name"], row["method"], row["licence"], row["parameters"], row["patch"], row["dim"], size)
    return (*facts, AT_HAND[row["at_hand"]])


def _print_timm(pattern: str, *, as_json: bool) -> None:
    import timm

    names = timm.list_models(f"*{pattern}*", pretrained=True)
    if not names:
        raise ConfigError(f"timm has no pretrained model with {pattern!r} in its name", hint="try dino")
    if as_json:
        print_json(names)
    else:
        print("\n".join(names))  # noqa: T201
