"""The head alone, with the standardisation taken into its first matrix: two small files that need nothing of ours.

`head.safetensors` acts on raw tokens of the backbone; `head.json` names the backbone, the classes and the formula.
"""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from labelgen.errors import ConfigError
from labelgen.masks import write_atomic
from segprobe.export.check import ExportError
from segprobe.heads import ConvHead, Head, LinearHead, MlpHead, ProjectionHead
from segprobe.heads.head import folded_matrix

__all__ = ["FORMULAS", "apply_folded", "folded_tensors", "write_folded"]

FORMULAS = {
    "matrix": "logits = x W^T + b, with W = weight and b = bias, for every token x",
    "hidden": "logits = gelu(x U^T + u) W^T + b, with U, u = hidden and W, b = classify, for every token x",
    "conv": (
        "f = gelu(x R^T + r) on the grid; twice f = f + gelu(pointwise(depthwise(f))) with 3x3 depthwise kernels and"
        " the border repeated; logits = f W^T + b, with R, r = reduce, mix.<n> and W, b = classify"
    ),
}
"""What is done with the tensors; gelu is the exact one, by the error function. Logits are then up-sampled bilinearly,
align_corners=False, and tokens are those after the settings of the backbone."""

TOKENS = 512  # random ones, on which the folded head is compared
LARGEST_DIFFERENCE = 1e-5  # of a logit, in units of the largest one where that exceeds 1


def folded_tensors(head: Head, *, name: str) -> tuple[str, dict[str, Tensor]]:
    """Tensors that act on raw tokens, and the key of their formula in `FORMULAS`.

    Raises
    ------
    ConfigError
        For heads that normalise tokens after standardising them: no matrix can take that in.
    """
    if isinstance(head, LinearHead | ProjectionHead):
        weight, bias = head.folded()
        return "matrix", {"weight": weight.detach(), "bias": bias.detach()}
    state = {key: value.detach() for key, value in head.state_dict().items() if key not in ("mean", "std")}
    if isinstance(head, MlpHead | ConvHead):
        first, layer = ("hidden", head.hidden) if isinstance(head, MlpHead) else ("reduce", head.reduce)
        weight, bias = folded_matrix(layer, head.mean, head.std)
        key = "hidden" if first == "hidden" else "conv"
        return key, {**state, f"{first}.weight": weight.detach(), f"{first}.bias": bias.detach()}
    raise ConfigError(
        f"head {name} scales every token to length 1, which cannot be folded into a matrix", hint="use --format onnx"
    )


def apply_folded(
    formula: str, tensors: dict[str, Tensor], tokens: Float[Tensor, "*B h w D"]
) -> Float[Tensor, "*B h w C"]:
    """Logits by the formula alone, for the comparison and as an example of use.

    Examples
    --------
    >>> apply_folded("matrix", {"weight": torch.eye(2), "bias": torch.ones(2)}, torch.zeros(1, 1, 2))
    tensor([[[1., 1.]]])
    """
    if formula == "matrix":
        return tokens @ tensors["weight"].T + tensors["bias"]
    if formula == "hidden":
        inner = F.gelu(tokens @ tensors["hidden.weight"].T + tensors["hidden.bias"])
        return inner @ tensors["classify.weight"].T + tensors["classify.bias"]
    maps = F.gelu(tokens @ tensors["reduce.weight"].T + tensors["reduce.bias"])
    maps = maps.reshape(-1, *maps.shape[-3:]).permute(0, 3, 1, 2)
    number = 0
    while f"mix.{number}.depthwise.weight" in tensors:
        block = {key: tensors[f"mix.{number}.{key}"] for key in BLOCK}
        padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
        near = F.conv2d(padded, block["depthwise.weight"], block["depthwise.bias"], groups=maps.shape[1])
        maps = maps + F.gelu(F.conv2d(near, block["pointwise.weight"], block["pointwise.bias"]))
        number += 1
    logits = maps.permute(0, 2, 3, 1) @ tensors["classify.weight"].T + tensors["classify.bias"]
    return logits.reshape(*tokens.shape[:-1], -1)


BLOCK = ("depthwise.weight", "depthwise.bias", "pointwise.weight", "pointwise.bias")


def write_folded(head: Head, path: Path, *, name: str, facts: dict[str, Any]) -> float:
    """Write both files and read them again; returns the largest difference of a logit on random tokens.

    Raises
    ------
    ConfigError
        When the head cannot be folded.
    ExportError
        When what was written gives other logits; nothing is kept.
    """
    from safetensors.torch import load_file, save

    formula, tensors = folded_tensors(head, name=name)
    write_atomic(path, save({key: value.contiguous().float() for key, value in tensors.items()}))
    generator = torch.Generator().manual_seed(0)
    tokens = head.mean + head.std * torch.randn(TOKENS // 16, 16, head.dim, generator=generator)
    with torch.no_grad():
        expected = head(tokens)
        difference = float((apply_folded(formula, load_file(path), tokens) - expected).abs().max())
    if not difference <= LARGEST_DIFFERENCE * max(1.0, float(expected.abs().max())):
        path.unlink()
        raise ExportError(f"the folded head must give the logits of the head, got differences up to {difference:.2g}")
    description = {**facts, "formula": formula, "meaning": FORMULAS[formula], "tokens": head.dim}
    write_atomic(path.with_suffix(".json"), (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())
    return difference
