"""Patch embeddings of a CLIP model in its joint space, for images of any size."""

from typing import Any

import torch
from jaxtyping import Float, Float32

from labelgen.errors import ConfigError, ShapeError
from labelgen.nets.dense_clip.blocks import read_block, run_blocks
from labelgen.nets.dense_clip.clip_resnet import ClipResNet
from labelgen.nets.dense_clip.dual_path import DUAL_PATHS
from labelgen.nets.dense_clip.last_block import Layout, last_block
from labelgen.nets.dense_clip.names import BETA, DEPTH, DUAL_PATH, GAMMA, METHODS, NEEDS_EXTERNAL, STD
from labelgen.nets.dense_clip.tower import Vit, read_tower, refuse_method

__all__ = ["patch_embeddings"]


def patch_embeddings(
    model: Any,
    images: Float[torch.Tensor, "B 3 H W"],
    *,
    method: str = "naclip",
    std: float = STD,
    depth: int | None = None,
    beta: float = BETA,
    gamma: float = GAMMA,
    external: Float[torch.Tensor, "_ h w E"] | None = None,
) -> Float32[torch.Tensor, "B gh gw D"]:
    """One vector of the joint space per patch, comparable with text embeddings after normalisation.

    The model is only read: nothing is patched, hooked or written, and calls do not depend on each other. Images are
    padded to whole patches at the right and at the bottom, so that the grid is `ceil(H / P)` by `ceil(W / P)`.

    Parameters
    ----------
    model
        open_clip model in evaluation mode.
    images
        Normalised as the model wants them, on its device; any size.
    method
        One of `METHODS`; the table in `names` says what each does.
    std
        Of `naclip`, in patches.
    depth
        Last blocks that take part in `gem` and `surgery`; None for `DEPTH` of them, or for all where the tower has
        fewer.
    beta, gamma
        Of `proxy`.
    external
        Features of another backbone for the same images, for `proxy`. Its grid may differ from the tower's: values are
        resized to it, mixed there, and resized back. Both grids are taken to cover the same area.

    Returns
    -------
    torch.Tensor
        Not normalised.

    Raises
    ------
    ConfigError
        For an unknown method, a number out of range, missing or superfluous `external`, a tower that is not understood,
        or a model in training mode.
    ShapeError
        When images or `external` have a wrong shape.

    References
    ----------
    .. [1] The papers of the methods are listed in `names`.
    """
    _check_numbers(method, std, depth, gamma, external)
    tower = _open(model, images, method)
    if external is not None and (external.ndim != 4 or len(external) != len(images)):
        raise ShapeError(f"external must be (B, h, w, E) with B = {len(images)}, got {tuple(external.shape)}")
    with torch.no_grad():
        if isinstance(tower, ClipResNet):
            features = tower.features(images)
            grid = (features.shape[2], features.shape[3])
            layout = Layout(grid, tower.prefix, std=std, beta=beta, gamma=gamma, external=external)
            return tower.pooled(features, method=method, layout=layout)[:, 1:].float().unflatten(1, grid)
        tokens, grid = tower.embed(images)
        if method in DUAL_PATH:
            tokens = _second_path(tower, tokens, method=method, depth=depth)
        else:
            layout = Layout(grid, tower.prefix, std=std, beta=beta, gamma=gamma, external=external)
            tokens = run_blocks(tower.blocks[:-1], tokens)
            tokens = last_block(read_block(tower.blocks[-1]), tokens, method=method, layout=layout)
        return tower.finish(tokens[:, tower.prefix :]).float().unflatten(1, grid)


def _second_path(vit: Vit, tokens: torch.Tensor, *, method: str, depth: int | None) -> torch.Tensor:
    step, blocks = DUAL_PATHS[method], len(vit.blocks)
    first = blocks - (min(DEPTH, blocks) if depth is None else depth)
    if first < 0:
        raise ConfigError(
            f"depth must not exceed the {blocks} blocks of the image tower, got {depth}",
            hint=f"{blocks} gives all of them a second path; None, no more than {DEPTH}",
        )
    tokens = run_blocks(vit.blocks[:first], tokens)
    second = tokens
    for index in range(first, blocks):
        block = read_block(vit.blocks[index])
        second = second + step(block, tokens)
        if index < blocks - 1:  # nothing needs the original path after the last block
            tokens = block(tokens)
    return second


def _open(model: Any, images: torch.Tensor, method: str) -> Vit | ClipResNet:
    tower = read_tower(model)
    if isinstance(tower, ClipResNet):
        refuse_method(tower, method)
    if model.visual.training:
        raise ConfigError("the model must be in evaluation mode", hint="call model.eval() first")
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape or not images.is_floating_point():
        raise ShapeError(f"images must be normalised floats (B, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    return tower


def _check_numbers(method: str, std: float, depth: int | None, gamma: float, external: Any) -> None:
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if std <= 0 or gamma <= 0:
        raise ConfigError(f"std and gamma must be > 0, got {std} and {gamma}")
    if depth is not None and depth < 1:
        raise ConfigError(f"depth must be >= 1 block, got {depth}")
    if (external is not None) != (method in NEEDS_EXTERNAL):
        problem = "needs" if external is None else "does not use"
        raise ConfigError(f"method {method} {problem} the features of another backbone (external)")
