"""What training minimises: the loss at labelled pixels, and terms that look at whole token grids."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from segprobe.batches import UNLABELLED, BatchImage, TokenBatch, read_at_pixels
from segprobe.heads import Head
from segprobe.runtime import ALONE, Runtime

__all__ = ["GridView", "Objective", "Parts", "PixelLoss", "Term", "masked_tokens"]

PixelLoss = Callable[..., Tensor]
"""`loss(logits (P, C), columns (P,), weights=(P,), ignore=..., progress=...)`, averaged over the weights of labelled
pixels; see `segprobe.losses`."""


@dataclass(frozen=True)
class GridView:
    """One image of a batch as a term sees it.

    Parameters
    ----------
    image
        Which image, in which view.
    logits
        Of the head, with gradients.
    tokens
        Features; with gradients only when the backbone is tuned.
    head
        The head itself, for terms that look inside.
    """

    image: BatchImage
    logits: Float[Tensor, "h w C"]
    tokens: Float[Tensor, "h w D"]
    head: Head


Term = Callable[[GridView], Tensor]
"""A penalty for one image, a scalar >= 0; exactly 0 with a zero gradient where there is nothing to say."""


@dataclass(frozen=True)
class Parts:
    """A loss and what it is made of.

    Parameters
    ----------
    loss
        This process's share of the loss: the shares of all processes add up to it, and so do their gradients.
    values
        Shares by name, for the log.
    """

    loss: Tensor
    values: Mapping[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """Loss at pixels plus weighted terms.

    Parameters
    ----------
    pixel_loss
        Averaged over labelled pixels of the whole batch.
    terms
        Name, weight and function of each term, averaged over the images of the whole batch.
    """

    pixel_loss: PixelLoss
    terms: tuple[tuple[str, float, Term], ...] = ()

    @property
    def needs_grids(self) -> bool:
        """Whether batches must hold whole token grids."""
        return bool(self.terms)

    def __call__(
        self,
        head: Head,
        batch: TokenBatch,
        *,
        mask: Float[Tensor, "T D"] | None = None,
        runtime: Runtime = ALONE,
        progress: float = 1.0,
    ) -> Parts:
        """Compute the share of this process in the loss of a batch.

        Parameters
        ----------
        mask
            Multiplies the standardised features.
        progress
            Share of the updates that are done, in [0, 1], for losses that change on the way.
        """
        tokens = masked_tokens(head, batch.tokens, mask)
        logits = head_logits(head, tokens, batch)
        weight, images = batch.weight, len(batch.images)
        total, count = runtime.sum(weight, images)
        pixels = self.pixel_loss(
            read_at_pixels(logits, batch),
            batch.columns,
            weights=batch.pixel_weights,
            ignore=UNLABELLED,
            progress=progress,
        )
        loss = pixels * (weight / total if total else 1.0)
        values = {"pixels": loss.detach()}
        for name, factor, term in self.terms:
            views = [_grid_view(head, batch, logits, image) for image in batch.images]
            share = sum((term(view) for view in views), logits[:0].sum()) / count
            values[name] = share.detach()
            loss = loss + factor * share
        return Parts(loss, values)


def masked_tokens(head: Head, tokens: Float[Tensor, "T D"], mask: Float[Tensor, "T D"] | None) -> Float[Tensor, "T D"]:
    """Tokens with some channels hidden: scaled about the mean, so that a hidden channel is an average one."""
    return tokens if mask is None else (tokens - head.mean) * mask + head.mean


def head_logits(head: Head, tokens: Float[Tensor, "T D"], batch: TokenBatch) -> Float[Tensor, "T C"]:
    """Logits of all tokens of a batch; heads that look at neighbours get one image after the other."""
    if not head.needs_grid:
        return head(tokens)
    parts = []
    for image in batch.images:
        height, width = image.geometry.grid
        grid = tokens[image.first : image.first + height * width].view(height, width, -1)
        parts.append(head(grid).flatten(0, 1))
    return torch.cat(parts)


def _grid_view(head: Head, batch: TokenBatch, logits: Tensor, image: BatchImage) -> GridView:
    height, width = image.geometry.grid
    rows = slice(image.first, image.first + height * width)
    return GridView(image, logits[rows].view(height, width, -1), batch.tokens[rows].view(height, width, -1), head)
