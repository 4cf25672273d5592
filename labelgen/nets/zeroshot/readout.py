"""Probabilities of classes out of similarities of prompts, one class after the other, to keep memory small."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float32
from torch.nn import functional as F

from labelgen.errors import ConfigError
from labelgen.nets.zeroshot.similarity import ScoreMaps
from labelgen.prompts import PromptTable

__all__ = ["Readout", "average_prompts", "class_probabilities", "keep_classes", "likeliest", "winning_planes"]

WIDEST = 80.0  # of logits: exp(-80) is still a normal number in float32


@dataclass(frozen=True)
class Readout:
    """How similarities of prompts become probabilities of classes.

    Parameters
    ----------
    scale
        Factor on similarities, which span a narrow band.
    bias
        Added to scaled similarities; only for `sigmoid`.
    synonyms
        How the prompts of a class become one: `max-logit` takes the largest and then the softmax over classes;
        `compat` takes the softmax over all prompts and then the largest, as public zero-shot code does, so that
        another synonym changes every probability; `logsumexp` takes the softmax over all prompts and then the sum.
        A mean of the vectors of a class (`average_prompts`) leaves one prompt, for which all are equal.
    activation
        `softmax`; `sigmoid` for models trained with it, where classes do not exclude each other; `given` for scores
        that are probabilities already.
    """

    scale: float = 40.0
    bias: float = 0.0
    synonyms: Literal["max-logit", "compat", "logsumexp"] = "max-logit"
    activation: Literal["softmax", "sigmoid", "given"] = "softmax"

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"scale must be > 0, got {self.scale}")

    def logits(self, scores: torch.Tensor) -> torch.Tensor:
        """Scaled scores of one prompt."""
        return scores if self.activation == "given" else self.scale * scores + self.bias

    def join(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Logits of a class out of those of two of its prompts."""
        return torch.logaddexp(one, other) if self.synonyms == "logsumexp" else torch.maximum(one, other)


def winning_planes(
    maps: ScoreMaps, table: PromptTable, readout: Readout, *, always: frozenset[int] = frozenset()
) -> dict[int, torch.Tensor]:
    """Probabilities of the classes that are the best of at least one pixel.

    Only a few planes exist at any time, so 171 classes need no more memory than 20. Classes are visited in the order
    of their ids and one after the other, so that sums are rounded in the same way whatever is kept.

    Parameters
    ----------
    maps
        One map per prompt of the table.
    always
        Classes whose plane is wanted even if they win nowhere.

    Returns
    -------
    dict of int to Tensor
        Class id to `(H, W)` float32 in [0, 1], in the order of `table.class_ids`. Ties go to the first.
    """
    ids = table.class_ids
    # Maps are weighted means of scores: scaling the few scores scales every pixel.
    maps = maps.with_scores(readout.logits)
    total = _Total(maps) if readout.activation == "softmax" else None
    best = index = None
    for number, class_id in enumerate(ids):
        logits = None
        for prompt in table.prompts_of(class_id):
            plane = maps.plane(prompt)
            if total and readout.synonyms == "compat":
                total.add(plane)
            logits = plane if logits is None else readout.join(logits, plane)
        assert logits is not None
        if total and readout.synonyms != "compat":
            total.add(logits)
        if best is None or index is None:
            best, index = logits, torch.zeros(logits.shape, dtype=torch.int16, device=logits.device)
        else:
            index.masked_fill_(logits > best, number)
            torch.maximum(best, logits, out=best)
    if index is None:
        return {}
    pixels = torch.bincount(index.flatten().int(), minlength=len(ids)).tolist()
    winners = {class_id for class_id, count in zip(ids, pixels, strict=True) if count} | (always & set(ids))
    over = total.log() if total else None
    return {
        class_id: _probability(_class_logits(maps, table, class_id, readout), over, readout)
        for class_id in ids
        if class_id in winners
    }


class _Total:
    """Log of a running sum of exponentials.

    Where the logits of an image lie close enough together the exponentials are added after one shift for all pixels,
    which takes a third of the time of keeping a shift for each.
    """

    def __init__(self, maps: ScoreMaps) -> None:
        lows, highs = zip(*(torch.aminmax(term.scores) for term in maps.terms), strict=True)
        low, self.shift = float(min(lows)), float(max(highs))  # of the pixels, too: they are means of scores
        self.close = self.shift - low < WIDEST
        self.sum: torch.Tensor | None = None

    def add(self, plane: torch.Tensor) -> None:
        """Take in the logits of one prompt or class; they stay as they are."""
        part = (plane - self.shift).exp_() if self.close else plane
        if self.sum is None:
            self.sum = part if self.close else part.clone()
        else:
            torch.add(self.sum, part, out=self.sum) if self.close else torch.logaddexp(self.sum, part, out=self.sum)

    def log(self) -> torch.Tensor | None:
        """The result; None when nothing was added."""
        if self.sum is None or not self.close:
            return self.sum
        return self.sum.log() + self.shift


def likeliest(maps: ScoreMaps, table: PromptTable, readout: Readout, count: int) -> list[int]:
    """So many classes of the table, by their greatest probability at any patch; ties go to the first."""
    peaks = [class_probabilities(term.scores, table, readout).flatten(start_dim=1).amax(dim=1) for term in maps.terms]
    best = torch.stack(peaks).mean(dim=0).tolist()
    ranked = sorted(zip(table.class_ids, best, strict=True), key=lambda pair: -pair[1])
    return [class_id for class_id, _ in ranked[:count]]


def _class_logits(maps: ScoreMaps, table: PromptTable, class_id: int, readout: Readout) -> torch.Tensor:
    first, *others = table.prompts_of(class_id)
    logits = maps.plane(first)
    for prompt in others:
        logits = readout.join(logits, maps.plane(prompt))
    return logits


def _probability(logits: torch.Tensor, total: torch.Tensor | None, readout: Readout) -> torch.Tensor:
    if readout.activation == "sigmoid":
        return logits.sigmoid()
    return logits if total is None else (logits - total).exp().clamp(max=1)


def class_probabilities(
    scores: Float32[torch.Tensor, "K *cells"], table: PromptTable, readout: Readout
) -> Float32[torch.Tensor, "C *cells"]:
    """Probabilities of all classes at once, for scores of patches; in the order of `table.class_ids`.

    Examples
    --------
    >>> table = PromptTable(("cat", "kitten", "dog"), (8, 8, 12))
    >>> scores = torch.tensor([[0.0], [0.0], [0.0]])
    >>> class_probabilities(scores, table, Readout())[:, 0].tolist()
    [0.5, 0.5]
    >>> [round(p, 3) for p in class_probabilities(scores, table, Readout(synonyms="compat"))[:, 0].tolist()]
    [0.333, 0.333]
    """
    logits = readout.logits(scores)
    groups = [logits[list(table.prompts_of(class_id))] for class_id in table.class_ids]
    if readout.synonyms == "logsumexp":
        classes = torch.stack([group.logsumexp(dim=0) for group in groups])
    else:
        classes = torch.stack([group.amax(dim=0) for group in groups])
    if readout.activation == "sigmoid":
        return classes.sigmoid()
    if readout.activation == "given":
        return classes
    over = logits if readout.synonyms == "compat" else classes
    return (classes - over.logsumexp(dim=0)).exp().clamp(max=1)


def average_prompts(
    prototypes: Float32[torch.Tensor, "K D"], table: PromptTable, *, apart: frozenset[int] = frozenset()
) -> tuple[Float32[torch.Tensor, "N D"], PromptTable]:
    """One vector per class, the normalised mean over its prompts, and the table that goes with them.

    Parameters
    ----------
    apart
        Classes whose prompts stay as they are: words for the background are many things, not many words for one.
    """
    vectors, names, owners = [], [], []
    for class_id in table.class_ids:
        members = list(table.prompts_of(class_id))
        if class_id in apart or len(members) == 1:
            vectors.append(prototypes[members])
            names += [table.prompts[i] for i in members]
            owners += [class_id] * len(members)
        else:
            vectors.append(F.normalize(prototypes[members].mean(dim=0, keepdim=True), dim=1))
            names.append(" / ".join(table.prompts[i] for i in members))
            owners.append(class_id)
    return torch.cat(vectors), PromptTable(tuple(names), tuple(owners), table.warnings)


def keep_classes(table: PromptTable, allowed: Callable[[int], bool]) -> tuple[list[int], PromptTable]:
    """The prompts of some classes: their indices, and the table that is left."""
    kept = [index for index, owner in enumerate(table.class_of) if allowed(owner)]
    return kept, PromptTable(
        tuple(table.prompts[i] for i in kept), tuple(table.class_of[i] for i in kept), table.warnings
    )
