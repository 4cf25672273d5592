"""One image in, one mask out: maps of prompts, which classes may be there, probabilities, decisions."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.nets.zeroshot.decide import Rules, decide
from labelgen.nets.zeroshot.readout import Readout, class_probabilities, keep_classes, likeliest, winning_planes
from labelgen.nets.zeroshot.similarity import ScoreMaps
from labelgen.prompts import UNLABELLED, PromptTable

__all__ = ["Gate", "Labeller", "Look"]

Look = Callable[[UInt8[np.ndarray, "H W 3"], Float32[torch.Tensor, "K D"], np.random.Generator], ScoreMaps]
"""Image, prototypes and a generator to one map per prototype."""


@dataclass(frozen=True)
class Gate:
    """Which classes an image may show at all, by the similarity of its prompts to the whole image.

    Parameters
    ----------
    top_k
        Only the so many best classes; 0 for all.
    min_similarity
        Only classes with this cosine or more; -1 for all.
    """

    top_k: int = 0
    min_similarity: float = -1.0

    def __post_init__(self) -> None:
        if self.top_k < 0 or not -1 <= self.min_similarity <= 1:
            raise ConfigError(
                f"top_k must be >= 0 and a similarity in [-1, 1], got {self.top_k} and {self.min_similarity}"
            )

    @property
    def is_open(self) -> bool:
        """Whether every class passes."""
        return self.top_k == 0 and self.min_similarity == -1

    def passing(self, similarity: Float32[np.ndarray, "K"], table: PromptTable, *, apart: frozenset[int]) -> set[int]:
        """Classes that pass; those of `apart` (background, unlabelled) always do.

        Parameters
        ----------
        similarity
            Cosine of the whole image to each prompt.
        """
        best = {c: float(similarity[list(table.prompts_of(c))].max()) for c in table.class_ids if c not in apart}
        ranked = sorted(best, key=lambda c: (-best[c], c))[: self.top_k or None]
        return {c for c in ranked if best[c] >= self.min_similarity} | apart


@dataclass(frozen=True, eq=False)
class Labeller:
    """Zero-shot labels of images, with everything settled.

    Parameters
    ----------
    look
        Makes the maps of an image.
    prototypes
        `(K, D)` unit vectors of the prompts, where `look` computes.
    table
        Prompts and their classes.
    readout
        Similarities to probabilities.
    rules
        Probabilities to labels.
    fuse_probabilities
        Take probabilities at the patches and average those over windows, instead of similarities.
    gate
        Which classes may be there; needs `embed` unless it is open.
    embed
        Unit vector of a whole image.
    """

    look: Look
    prototypes: Float32[torch.Tensor, "K D"]
    table: PromptTable
    readout: Readout
    rules: Rules
    fuse_probabilities: bool = False
    gate: Gate = Gate()
    embed: Callable[[UInt8[np.ndarray, "H W 3"]], Float32[torch.Tensor, "D"]] | None = None

    def __post_init__(self) -> None:
        if len(self.table.prompts) != len(self.prototypes):
            raise ConfigError(
                f"prompts and vectors must agree, got {len(self.table.prompts)} and {len(self.prototypes)}"
            )
        if not self.gate.is_open and self.embed is None:
            raise ConfigError("a gate needs the vector of the whole image")

    def __call__(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        rng: np.random.Generator,
        *,
        tags: frozenset[int] | None = None,
        saliency: Float32[np.ndarray, "H W"] | None = None,
    ) -> SoftMask:
        """Label one image.

        Parameters
        ----------
        tags
            Only these classes may be there; None for no restriction.
        saliency
            For `Rules.certainty`.
        """
        size = image.shape[0], image.shape[1]
        planes, kept = self.probabilities(image, rng, tags=tags)
        arrays = {class_id: plane.cpu().numpy() for class_id, plane in planes.items()}
        mask = decide(arrays, self.rules, size=size, saliency=saliency)
        if kept is None:
            return mask
        return replace(mask, details={**mask.details, "classes_allowed": sorted(kept - self._apart)})

    def likely(self, image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator, count: int) -> SoftMask:
        """Probabilities before any rule of the `count` classes that are the likeliest somewhere."""
        found, _ = self.probabilities(image, rng, also=count)
        planes = {class_id: plane.cpu().numpy() for class_id, plane in found.items() if class_id != UNLABELLED}
        kept = sorted(sorted(planes, key=lambda c: (-planes[c].max(), c))[:count])
        size = image.shape[0], image.shape[1]
        scores = np.stack([planes[c] for c in kept]) if kept else np.zeros((0, *size), np.float32)
        return SoftMask(scores, tuple(kept))

    def probabilities(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        rng: np.random.Generator,
        *,
        tags: frozenset[int] | None = None,
        also: int = 0,
    ) -> tuple[dict[int, torch.Tensor], set[int] | None]:
        """Planes of the winning classes before any rule, and the classes that the gate let pass (None: all).

        Parameters
        ----------
        also
            So many of the likeliest classes have a plane even if they win nowhere.
        """
        allowed = self._allowed(image, tags)
        table, prototypes = self.table, self.prototypes
        if allowed is not None:
            index, table = keep_classes(table, allowed.__contains__)
            prototypes = prototypes[index]
        if not table.prompts:
            return {}, allowed
        with torch.inference_mode():
            maps, readout = self.look(image, prototypes, rng), self.readout
            if self.fuse_probabilities:
                whole, rule = table, self.readout
                maps = maps.with_scores(lambda scores: class_probabilities(scores, whole, rule))
                table = PromptTable(tuple(map(str, table.class_ids)), table.class_ids)
                readout = replace(readout, activation="given", synonyms="max-logit")
            always = frozenset(self._apart - {UNLABELLED}) | set(likeliest(maps, table, readout, also) if also else ())
            return winning_planes(maps, table, readout, always=always), allowed

    @property
    def _apart(self) -> frozenset[int]:
        return frozenset({UNLABELLED} | ({self.rules.background} if self.rules.background is not None else set()))

    def _allowed(self, image: np.ndarray, tags: frozenset[int] | None) -> set[int] | None:
        allowed: set[int] | None = None if tags is None else set(tags | self._apart)
        if not self.gate.is_open:
            assert self.embed is not None
            similarity = (self.prototypes @ self.embed(image)).cpu().numpy()
            passing = self.gate.passing(similarity, self.table, apart=self._apart)
            allowed = passing if allowed is None else allowed & passing
        return allowed
