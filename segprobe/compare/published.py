"""What the paper reports for such labels and such training, in its own setting: a column to read beside one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelgen.nets.backbone_config import BackboneConfig
from segprobe.paper import NETWORKS, PUBLISHED, Published

__all__ = ["network_of", "published_row", "supervision_of"]


def supervision_of(facts: Mapping[str, Any], run: str) -> str:
    """The paper's word for the labels of a run; empty where it has none.

    Shrunk or dropped strokes are none of the paper's.

    Parameters
    ----------
    facts
        `method` and `config` from run.json.

    Examples
    --------
    >>> supervision_of({}, "truth"), supervision_of({"method": "scribble", "config": {"shrink": 0.5}}, "half")
    ('truth', '')
    """
    if run == "truth":
        return "truth"
    method, config = facts.get("method", ""), facts.get("config") or {}
    if config.get("shrink") or config.get("drop"):
        return ""
    if method in ("scribble", "point"):
        return method
    if method == "cam":
        return {"seam": "seam", "eps": "eps"}.get(str(config.get("method", "")), "")
    return "vision-language" if method == "clip" else ""


def network_of(backbone: BackboneConfig) -> str:
    """Which network of the paper a backbone is, as `segprobe paper` names it; empty for all others.

    Examples
    --------
    >>> network_of(BackboneConfig("vit_large_patch16_224", "models/ibot_vitl_16.pth")), network_of(BackboneConfig())
    ('ibot-l', '')
    """
    typed = backbone.name + (f"@{Path(backbone.weights).name}" if backbone.weights else "")
    return next((network for network, name in NETWORKS.items() if name == typed), "")


def published_row(
    facts: Mapping[str, Any], *, run: str, head: str, strategy: str, network: str = ""
) -> Published | None:
    """Look up what is published for these labels; None where the paper has no such figure.

    The networks of the paper have their own figures. Of all others, the frozen and the tuned probe stand beside those
    of DINOv2 with a linear head, a baseline beside those of the network of its name.
    """
    wanted = supervision_of(facts, run)
    method = head.partition(",")[0]
    matches = [row for row in PUBLISHED if _matches(row, wanted, method, strategy)]
    if network:
        matches = [row for row in matches if row.network == network]
    return matches[0] if wanted and matches else None


def _matches(row: Published, supervision: str, method: str, strategy: str) -> bool:
    return row.supervision == supervision and row.head == method and row.strategy == strategy
