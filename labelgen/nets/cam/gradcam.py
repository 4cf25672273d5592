"""Class maps from gradients, for any layer of any network: many classes from one forward pass, no hook left behind.

The gradient is that of the scores with respect to the activation, so parameters need none and get none.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from labelgen.errors import ConfigError, ShapeError

__all__ = ["GRADIENT_MAPS", "GradCam", "GradientMap", "combine", "grad_cam", "layer_grad_cam", "tokens"]

GradientMap = Literal["gradcam", "hirescam", "layercam", "gradcam++"]
GRADIENT_MAPS: tuple[GradientMap, ...] = ("gradcam", "hirescam", "layercam", "gradcam++")
PLUS_EPSILON = 1e-6  # of Grad-CAM++'s division, as in pytorch-grad-cam

NO_WAY = "the scores do not depend on the layer in a way that gradients can follow"
NO_WAY_HINT = "take a layer on the way to the scores, of a network that does not detach it"

Arrange = Callable[[Tensor], Tensor]
"""Turns what a layer gives into `(B, D, h, w)`, by moving values only: `tokens(grid)` for ViTs."""


@dataclass(frozen=True)
class GradCam:
    """Maps of some classes.

    Parameters
    ----------
    maps
        Raw: signed, not scaled, at the size of the activation.
    logits
        The scores of all classes.
    class_indices
        Which channel of the scores each map is of.
    is_dead
        Where the gradient was zero at every place, so that the map says nothing: the score does not depend on the
        layer, as with the last patch tokens of a ViT that reads its class token.
    """

    maps: Float[Tensor, "B K h w"]
    logits: Float[Tensor, "B C"]
    class_indices: Int64[Tensor, "B K"]
    is_dead: Bool[Tensor, "B K"]


def grad_cam(
    features: Callable[[Tensor], Tensor],
    scores: Callable[[Tensor], Tensor],
    images: Float[Tensor, "B _ H W"],
    class_indices: Sequence[int] | Int64[Tensor, "..."],
    *,
    how: str = "gradcam",
) -> GradCam:
    """Maps of several classes of a network that comes in two parts.

    Parameters
    ----------
    features
        Images to an activation `(B, D, h, w)`; run once, without gradients.
    scores
        The activation to class scores `(B, C)`; the images of a batch must not see each other, so batch norms have to
        be in eval mode.
    class_indices
        Channels of the scores: the same for all images, or a row for each.
    how
        One of `GRADIENT_MAPS`; see `combine`.

    Raises
    ------
    ConfigError
        When the kind of map is unknown, or a class is.
    ShapeError
        When there are not as many rows of classes as images.

    Examples
    --------
    >>> maps = grad_cam(lambda x: x, lambda a: a.mean(dim=(2, 3)), torch.ones(2, 3, 4, 4), [0, 2]).maps
    >>> maps.shape, float(maps[0, 0, 0, 0])
    (torch.Size([2, 2, 4, 4]), 0.0625)
    """
    _check_kind(how)
    with torch.inference_mode(False):
        with torch.no_grad():
            activation = features(_ordinary(images))
        leaf = activation.detach().requires_grad_()
        with torch.enable_grad():
            logits = scores(leaf)
        return _maps_of(leaf, logits, class_indices, how=how, arrange=_as_it_is)


def layer_grad_cam(
    model: nn.Module,
    layer: str,
    images: Float[Tensor, "B _ H W"],
    class_indices: Sequence[int] | Int64[Tensor, "..."],
    *,
    how: str = "gradcam",
    arrange: Arrange | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> GradCam:
    """Maps of several classes at a layer of any network, found by its name.

    What comes before the layer is computed without gradients, and the hook that finds the layer is gone afterwards,
    whatever happens.

    Parameters
    ----------
    model
        In eval mode.
    layer
        As in `model.named_modules()`.
    arrange
        For layers that do not give `(B, D, h, w)`: `tokens((h, w))` for ViTs, or for channels that come last
        `lambda a: a.permute(0, 3, 1, 2)`.
    forward
        Images to class scores `(B, C)` by way of the model, where `model(images)` does not give them.

    Raises
    ------
    ConfigError
        When there is no such layer, it does not run exactly once, its output is no grid, or the scores do not depend
        on it.
    ShapeError
        When there are not as many rows of classes as images.

    Examples
    --------
    >>> from torch.nn import AdaptiveAvgPool2d, Flatten, Sequential
    >>> model = Sequential(nn.Conv2d(3, 4, 3), AdaptiveAvgPool2d(1), Flatten()).eval()
    >>> layer_grad_cam(model, "0", torch.ones(1, 3, 8, 8), [1]).maps.shape
    torch.Size([1, 1, 6, 6])
    """
    _check_kind(how)
    if model.training:
        raise ConfigError("the network must be in eval mode for class maps", hint="model.eval()")
    with torch.inference_mode(False), torch.no_grad(), _split_at(model, layer) as leaves:
        logits = (forward or model)(_ordinary(images))
    if len(leaves) != 1:
        raise ConfigError(
            f"layer {layer!r} must run once for a batch, it ran {len(leaves)} times", hint="name one that is not shared"
        )
    if not isinstance(logits, Tensor):
        raise ConfigError(f"the network must give a tensor of scores, got {type(logits).__name__}")
    if not logits.requires_grad:
        raise ConfigError(NO_WAY, hint=NO_WAY_HINT)
    with torch.inference_mode(False):
        return _maps_of(leaves[0], logits, class_indices, how=how, arrange=arrange or _as_it_is)


def tokens(grid: tuple[int, int]) -> Arrange:
    """How the tokens of a ViT become a grid; those before the patches, such as the class token, are left out.

    Examples
    --------
    >>> tokens((2, 3))(torch.zeros(1, 1 + 6, 8)).shape
    torch.Size([1, 8, 2, 3])
    """

    def arrange(activation: Tensor) -> Tensor:
        before = activation.shape[1] - grid[0] * grid[1] if activation.ndim == 3 else -1
        if before < 0:
            raise ShapeError(
                f"a layer of tokens must give (B, N, D) with N >= {grid[0]} * {grid[1]}, got {tuple(activation.shape)}"
            )
        return activation[:, before:].transpose(1, 2).unflatten(2, grid)

    return arrange


def combine(
    activation: Float[Tensor, "B D h w"], gradient: Float[Tensor, "B D h w"], *, how: str
) -> Float[Tensor, "B h w"]:
    """One map of an activation A and the gradient g of one score with respect to it.

    - `gradcam`: `sum_d mean(g_d) A_d` [1];
    - `hirescam`: `sum_d g_d A_d` [2];
    - `layercam`: `sum_d ReLU(g_d) A_d` [3];
    - `gradcam++`: `sum_d w_d A_d` with `w_d = sum ReLU(g_d) a_d` and `a_d = g_d^2 / (2 g_d^2 + sum(A_d) g_d^3)`, the
      closed form of [4], equation 19, for an exponential on top of the score.

    Papers apply a ReLU to the map; here it stays signed.

    References
    ----------
    .. [1] Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv 1610.02391, equations 1 and 2.
    .. [2] Draelos and Carin, "Use HiResCAM instead of Grad-CAM", arXiv 2011.08891.
    .. [3] Jiang et al., "LayerCAM", IEEE TIP 2021.
    .. [4] Chattopadhyay et al., "Grad-CAM++", WACV 2018, arXiv 1710.11063.

    Examples
    --------
    >>> activation, gradient = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, -1.0]]]])
    >>> combine(activation, gradient, how="gradcam").tolist(), combine(activation, gradient, how="layercam").tolist()
    ([[[1.0, 2.0]]], [[[3.0, 0.0]]])
    """
    if how == "hirescam":
        return (gradient * activation).sum(dim=1)
    if how == "layercam":
        return (gradient.relu() * activation).sum(dim=1)
    if how == "gradcam":
        weights = gradient.mean(dim=(2, 3))
    else:
        squares = gradient**2
        sums = activation.sum(dim=(2, 3), keepdim=True)
        shares = squares / (2 * squares + sums * squares * gradient + PLUS_EPSILON)
        weights = (gradient.relu() * shares).sum(dim=(2, 3))
    return torch.einsum("bd,bdhw->bhw", weights, activation)


@contextmanager
def _split_at(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Cut the graph behind a layer: what it gives becomes a leaf, and gradients are followed from there on."""
    modules = dict(model.named_modules())
    if layer not in modules or not layer:
        near = [name for name in modules if name and "." not in name] or ["none"]
        raise ConfigError(f"the network has no layer {layer!r}", hint=f"at its top: {', '.join(near)}; or one in them")
    leaves: list[Tensor] = []

    def cut(module: nn.Module, given: tuple, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise ConfigError(f"layer {layer!r} must give one tensor, got {type(output).__name__}")
        leaves.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)  # until the `no_grad` around the pass ends
        return leaves[-1].clone()  # what follows may work in place

    handle = modules[layer].register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()


def _maps_of(
    leaf: Tensor, logits: Tensor, class_indices: Sequence[int] | Tensor, *, how: str, arrange: Arrange
) -> GradCam:
    if logits.ndim != 2 or len(logits) != len(leaf):
        raise ShapeError(f"scores must be (B, C) with B = {len(leaf)}, got {tuple(logits.shape)}")
    indices = _indices_of(class_indices, logits)
    activation = _as_grid(arrange(leaf.detach()))
    maps = activation.new_empty(*indices.shape, *activation.shape[2:])
    is_dead = torch.ones_like(indices, dtype=torch.bool)
    with torch.enable_grad():
        chosen = logits.gather(1, indices).sum(dim=0)  # images do not see each other, so their sum has their gradients
    # one backward pass a class: is_grads_batched and copies of the activation took 1.1 and 1.7 to 2.5 times as long for
    # the last stages of ResNet-50 and MobileNetV2 on a CPU
    for k in range(indices.shape[1]):
        last = k + 1 == indices.shape[1]
        gradient = torch.autograd.grad(chosen[k], leaf, retain_graph=not last, allow_unused=True)[0]
        if gradient is None:
            raise ConfigError(NO_WAY, hint=NO_WAY_HINT)
        gradient = _as_grid(arrange(gradient))
        maps[:, k] = combine(activation, gradient, how=how)
        is_dead[:, k] = (gradient == 0).all(dim=3).all(dim=2).all(dim=1)
    return GradCam(maps, logits.detach(), indices, is_dead)


def _indices_of(class_indices: Sequence[int] | Tensor, logits: Tensor) -> Tensor:
    count, classes = logits.shape
    indices = torch.as_tensor(class_indices, dtype=torch.int64, device=logits.device)
    if indices.ndim == 1:
        indices = indices.expand(count, -1)
    if indices.ndim != 2 or len(indices) != count:
        raise ShapeError(
            f"classes must be a list for all images, or a row for each of {count}, got {tuple(indices.shape)}"
        )
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < classes:
        raise ConfigError(f"class indices must lie in [0, {classes}), got {int(indices.min())} to {int(indices.max())}")
    return indices


def _check_kind(how: str) -> None:
    if how not in GRADIENT_MAPS:
        raise ConfigError(f"unknown kind of gradient map {how!r}", hint=f"there are {', '.join(GRADIENT_MAPS)}")


def _as_grid(activation: Tensor) -> Tensor:
    if activation.ndim != 4:
        raise ShapeError(
            f"the activation must be (B, D, h, w), got {tuple(activation.shape)}",
            hint="arrange=tokens((h, w)) for the tokens of a ViT",
        )
    return activation


def _as_it_is(activation: Tensor) -> Tensor:
    return activation


def _ordinary(images: Tensor) -> Tensor:
    return images.clone() if images.is_inference() else images
