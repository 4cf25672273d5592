"""Grad-CAM of an image-text model: which patches raise the probability of a word among others.

Words compete in a softmax, as [1]_ found it to matter, and the gradient of a word's probability is taken where the last
block has normed its tokens, its first layer norm: behind it only the last attention and feed-forward are left, and the
tokens there still hold what their patches show.

References
----------
.. [1] Lin et al., "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly Supervised Semantic
   Segmentation", CVPR 2023, arXiv 2212.09506, sections 3.1 and 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Float32
from torch.nn.functional import normalize

from labelgen.errors import ConfigError
from labelgen.nets.cam.gradcam import GradientMap, grad_cam
from labelgen.nets.dense_clip.blocks import Block, read_block
from labelgen.nets.dense_clip.clip_resnet import ClipResNet
from labelgen.nets.dense_clip.kernels import attend
from labelgen.nets.dense_clip.tower import Vit, read_tower

__all__ = ["MOST_PATCHES", "ClipCam", "block_attention", "check_tower", "clip_cam", "image_vector"]

MOST_PATCHES = 4096
"""Of one image: attention over them is 64 MiB a head and block."""

LINEAR_KINDS = ("native", "timm-token", "timm-avg")
"""Towers that pool one token or the mean of all, so that a mean of patches reaches the joint space as a token does."""


@dataclass(frozen=True)
class ClipCam:
    """Maps of some words.

    Parameters
    ----------
    maps
        Raw: signed, not scaled, one value a patch.
    is_dead
        Where the gradient was zero at every patch: the probability cannot move, as that of a word without rivals.
    probabilities
        Of all words, for the whole image.
    attention
        From patch to patch, averaged over the heads of the last blocks; rows sum to 1 at most, because class and
        register tokens are left out. None where none was asked for.
    """

    maps: Float32[torch.Tensor, "K h w"]
    is_dead: Bool[torch.Tensor, "K"]
    probabilities: Float32[torch.Tensor, "P"]
    attention: Float32[torch.Tensor, "N N"] | None


def check_tower(model: Any) -> Vit:
    """View the image tower of an open_clip model in steps.

    Raises
    ------
    ConfigError
        When it is no plain ViT, or pools its tokens by attention (SigLIP), for which the mean of patches is nothing
        that it was trained to read.
    """
    tower = read_tower(model)
    if isinstance(tower, ClipResNet):
        raise ConfigError(
            "gradients at the last block need a ViT, but the image tower is a ResNet", hint="--model ViT-B-16"
        )
    if tower.kind not in LINEAR_KINDS:
        raise ConfigError(
            "the image vector must be a mean of patches, but this tower pools them by attention (SigLIP)",
            hint="--model ViT-B-16, of OpenAI or LAION",
        )
    return tower


def clip_cam(
    model: Any,
    pixels: Float[torch.Tensor, "1 3 H W"],
    words: Float32[torch.Tensor, "P D"],
    chosen: Sequence[int],
    *,
    scale: float,
    feature: Literal["patches", "class"] = "patches",
    layers: int = 0,
    kind: GradientMap = "gradcam",
) -> ClipCam:
    """Maps of some words among all that compete.

    All blocks but the last run without gradients, once for all words; parameters need none and get none.

    Parameters
    ----------
    model
        open_clip model in eval mode.
    pixels
        Normalised as the model wants them, on its device; sides are multiples of its patch.
    words
        Unit vectors of all words that compete.
    chosen
        Indices of those whose maps are wanted.
    scale
        Factor on cosines before the softmax.
    feature
        What stands for the image: the mean of its patches, or the class token.
    layers
        Of how many of the last blocks attention is read; 0 for none.
    kind
        How activations and gradients make a map; see `labelgen.nets.cam.gradcam.combine`.

    Raises
    ------
    ConfigError
        When the tower is not understood or has fewer blocks, the image has more than `MOST_PATCHES` patches, or the
        class token is asked for of a tower that has none.
    """
    tower = check_tower(model)
    if not 0 <= layers <= tower_depth(tower):
        raise ConfigError(f"layers must lie in [0, {tower_depth(tower)}] for this model, got {layers}")
    if feature == "class" and tower.prefix < 1:
        raise ConfigError("this image tower has no class token", hint="--feature patches")
    blocks = [read_block(block) for block in tower.blocks]
    last = blocks[-1]
    with torch.inference_mode(False), torch.no_grad():
        pixels, words = (given.clone() if given.is_inference() else given for given in (pixels, words))
        tokens, grid = tower.embed(pixels)
        _check_count(grid, layers)
        tokens, attention = _run(blocks[:-1], tokens, prefix=tower.prefix, layers=max(layers - 1, 0))
        normed = last.norm1(tokens)
        if layers:
            attention.append(block_attention(last, normed)[tower.prefix :, tower.prefix :])

    def patches(_: torch.Tensor) -> torch.Tensor:
        return normed[:, tower.prefix :].transpose(1, 2).unflatten(2, grid)

    def probabilities(activation: torch.Tensor) -> torch.Tensor:
        whole = torch.cat([normed[:, : tower.prefix], activation.flatten(2).transpose(1, 2)], dim=1)
        vector = image_vector(tower, _finish_block(last, tokens, whole), feature=feature)
        return (scale * normalize(vector.float(), dim=-1) @ words.to(vector.device).T).softmax(dim=-1)

    found = grad_cam(patches, probabilities, pixels, list(chosen), how=kind)
    mean = torch.stack(attention).mean(dim=0) if attention else None
    return ClipCam(found.maps[0].float(), found.is_dead[0], found.logits[0].float(), mean)


def tower_depth(tower: Vit) -> int:
    """Blocks of a tower."""
    return len(tower.blocks)


def image_vector(
    tower: Vit, tokens: Float[torch.Tensor, "B T C"], *, feature: Literal["patches", "class"]
) -> Float[torch.Tensor, "B D"]:
    """The vector of an image in the joint space, from the tokens after its last block; not normalised.

    Parameters
    ----------
    feature
        The class token, with which most models were trained, or the mean of the patches.
    """
    finished = tower.finish(tokens)
    return finished[:, 0] if feature == "class" else finished[:, tower.prefix :].mean(dim=1)


def block_attention(block: Block, normed: Float[torch.Tensor, "1 T C"]) -> Float32[torch.Tensor, "T T"]:
    """Softmax attention of a block over tokens after its first norm, averaged over heads; one head at a time."""
    queries, keys = block.queries(normed)[0], block.keys(normed)[0]
    factor = queries.shape[-1] ** -0.5
    total = queries.new_zeros(queries.shape[1], queries.shape[1], dtype=torch.float32)
    for query, key in zip(queries, keys, strict=True):
        total += (query.float() @ key.float().T * factor).softmax(dim=-1)
    return total / len(queries)


def _run(
    blocks: Sequence[Block], tokens: torch.Tensor, *, prefix: int, layers: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run blocks, and read the attention of the last so many of them."""
    attention = []
    for index, block in enumerate(blocks):
        if index >= len(blocks) - layers:
            attention.append(block_attention(block, block.norm1(tokens))[prefix:, prefix:])
        tokens = block(tokens)
    return tokens, attention


def _finish_block(block: Block, tokens: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
    """The rest of a block from its normed tokens on; what it adds to stays as it was."""
    attended = attend(block.queries(normed), block.keys(normed), block.values(normed))
    tokens = tokens + block.output(attended)
    return tokens + block.feed_forward(tokens)


def _check_count(grid: tuple[int, int], layers: int) -> None:
    if layers and grid[0] * grid[1] > MOST_PATCHES:
        raise ConfigError(
            f"attention is read over {MOST_PATCHES} patches at most, got {grid[0]} x {grid[1]}",
            hint="a smaller --short-side, or --no-caa",
        )
