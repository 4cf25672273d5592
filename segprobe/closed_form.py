"""Heads without epochs: each is computed once from cached features and the pixels that training would read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from labelgen.nets.training import Progress
from segprobe.batches import UNLABELLED, BatchMaker, TokenBatch, read_at_pixels
from segprobe.heads import Head, KnnHead, PrototypeHead
from segprobe.heads.knn import draw_rows, votes
from segprobe.heads.prototype import add_class_rows, class_directions
from segprobe.ridge import NormalEquations, calibrated_scale
from segprobe.training import head_threads

__all__ = ["SOLVERS", "fit_bank", "fit_prototypes", "fit_ridge", "token_shares"]

PIXELS = 9  # stream of random numbers of the pixels that are read
BANK = 10  # stream of random numbers of the memory bank
CALIBRATION_PIXELS = 65536  # enough to choose one gain
CALIBRATION_TOKENS = 2048  # enough to choose one gain; each is compared with the whole bank
EVERY_PIXEL = 2**62  # more than any image has


def fit_ridge(head: Head, maker: BatchMaker, *, progress: Progress | None = None) -> None:
    """Solve a linear head by ridge regression on the labelled pixels of all images and views.

    The solution is multiplied by the gain of least cross-entropy, so that its softmax means something and training can
    start from it; no argmax changes.
    """
    equations = NormalEquations.empty(head.dim, head.classify.out_features)
    with head_threads(maker.config.thread_count), torch.no_grad():
        rows, columns, weights = _read_all(maker, head.standardised, equations.add_rows, "ridge", progress)
        matrix, bias = equations.solve(penalty=maker.config.ridge_penalty)
        gain = calibrated_scale(rows @ matrix.T.float() + bias.float(), columns, weights)
        head.classify.weight.copy_(gain * matrix)
        head.classify.bias.copy_(gain * bias)


def fit_prototypes(head: PrototypeHead, maker: BatchMaker, *, progress: Progress | None = None) -> None:
    """Set each prototype to the mean direction of the labelled pixels of its class, over all images and views.

    A pixel's direction is read from those of the four tokens around it, so that the same vectors are averaged and
    compared. The gain is the one with the least cross-entropy on the same pixels, as for ridge.
    """
    sums = torch.zeros(head.classify.out_features, head.dim, dtype=torch.float64)
    with head_threads(maker.config.thread_count), torch.no_grad():
        add = partial(add_class_rows, sums)
        rows, columns, weights = _read_all(maker, head.directions, add, "prototypes", progress)
        prototypes = class_directions(sums).float()
        gain = calibrated_scale(rows @ prototypes.T, columns, weights)
        head.classify.weight.copy_(gain * prototypes)
        head.classify.bias.zero_()


def _read_all(
    maker: BatchMaker,
    values: Callable[[Tensor], Tensor],
    add: Callable[[Tensor, Tensor, Tensor], None],
    note: str,
    progress: Progress | None,
) -> tuple[Float[Tensor, "K D"], Int64[Tensor, "K"], Float[Tensor, "K"]]:
    """Hand the labelled pixels of every image and view to `add`, and return a few of each to choose a gain on.

    Both are rows of the `values` of tokens, columns of the classes, and weights, on the CPU.
    """
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    per_view = max(1, CALIBRATION_PIXELS // (len(maker.ids) * len(maker.source.views)))
    for _, _, batch in labelled_views(maker, note, progress):
        rows = read_at_pixels(values(batch.tokens), batch)
        used = batch.columns != UNLABELLED
        part = rows[used].cpu(), batch.columns[used].cpu(), batch.pixel_weights[used].cpu()
        add(*part)
        kept.append((part[0][:per_view], part[1][:per_view], part[2][:per_view]))
    rows, columns, weights = (torch.cat(part) for part in zip(*kept, strict=True))
    return rows, columns, weights


def fit_bank(head: KnnHead, maker: BatchMaker, *, progress: Progress | None = None) -> None:
    """Fill the bank of a k-NN head with labelled tokens, an equal number from every image and view at most.

    The gain is chosen on tokens of the bank whose own image has no vote, or, of a single image, which have none
    themselves; a token would else find itself and be too sure.
    """
    views = len(maker.ids) * len(maker.source.views)
    quota, surplus = max(1, head.settings.bank // views), views > head.settings.bank
    chosen = np.random.default_rng([maker.config.seed, BANK]).permutation(views)[: head.settings.bank]
    kept = set(chosen.tolist()) if surplus else set(range(views))
    columns = head.classify.out_features
    rows, shares, owners = [], [], []
    with head_threads(maker.config.thread_count), torch.no_grad():
        for number, view, batch in labelled_views(by_corners(maker), "bank", progress):
            if number * len(maker.source.views) + view not in kept:
                continue
            found = token_shares(batch, columns)
            seed = int(np.random.default_rng([maker.config.seed, BANK, number, view]).integers(2**62))
            drawn = draw_rows(found.sum(1), quota, torch.Generator().manual_seed(seed))
            rows.append(head.directions(batch.tokens[drawn.to(batch.tokens.device)]).cpu())
            shares.append(found[drawn] / found[drawn].sum(1, keepdim=True))
            owners.append(torch.full((len(drawn),), number))
        bank, share, owner = torch.cat(rows), torch.cat(shares), torch.cat(owners)
        head.remember(bank, share, _vote_gain(bank, share, owner, head))


def _vote_gain(bank: Tensor, shares: Tensor, owners: Tensor, head: KnnHead) -> float:
    """Gain on votes with the least cross-entropy on tokens of the bank."""
    if len(owners.unique()) == 1:
        owners = torch.arange(len(bank))
    queries = torch.arange(0, len(bank), max(1, len(bank) // CALIBRATION_TOKENS))
    settings = head.settings
    outputs = votes(
        bank[queries],
        bank,
        shares,
        count=settings.neighbours,
        temperature=settings.temperature,
        owners=(owners[queries], owners),
    )
    return calibrated_scale(outputs, shares[queries].argmax(1), torch.ones(len(queries)))


def token_shares(batch: TokenBatch, num_classes: int) -> Float[Tensor, "T C"]:
    """Weight of the labelled pixels of each class that read a token, on the CPU.

    Only tokens that lie nearest to some labelled pixel count: the others around a click may well show something else.
    The rows of all other tokens are 0.
    """
    used = batch.columns != UNLABELLED
    corners, share = batch.corners[used].cpu(), batch.corner_weights[used].cpu()
    columns, weights = batch.columns[used].cpu(), batch.pixel_weights[used].cpu()
    total = torch.zeros(len(batch.tokens), num_classes)
    places = corners.flatten(), columns.repeat_interleave(corners.shape[1])
    total.index_put_(places, (share * weights[:, None]).flatten(), accumulate=True)
    nearest = torch.zeros(len(total), 1)
    nearest[corners.gather(1, share.argmax(1, keepdim=True)).flatten()] = 1
    return total * nearest


def by_corners(maker: BatchMaker) -> BatchMaker:
    """The same batches with every labelled pixel drawn, where `full` sampling would up-sample instead."""
    if maker.config.sampling != "full":
        return maker
    config = replace(maker.config, sampling="uniform", pixels=EVERY_PIXEL)
    return BatchMaker(maker.source, maker.labels, config, device=maker.device)


def labelled_views(maker: BatchMaker, note: str, progress: Progress | None) -> Iterator[tuple[int, int, TokenBatch]]:
    """Every image and view once: number of the image, number of the view, its tokens and labelled pixels."""
    for number, sample_id in enumerate(maker.ids):
        for view in range(len(maker.source.views)):
            rng = np.random.default_rng([maker.config.seed, PIXELS, number, view])
            yield number, view, maker.assemble([(sample_id, view)], rng)
        if progress is not None:
            progress(number + 1, len(maker.ids), note)


SOLVERS: dict[str, Callable[..., None]] = {"ridge": fit_ridge, "prototype": fit_prototypes, "knn": fit_bank}
"""Each fills a head in closed form from the features and labels of a `BatchMaker`; every other head is trained."""
