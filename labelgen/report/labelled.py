"""One labelled image: its classes with their figures, the colours to draw them in, and what nearly won."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8

from labelgen.masks import LabelMap, SoftMask, harden
from labelgen.report.pictures import CLEAR_COLOURS, round_top
from labelgen.vocab import Colour, Vocabulary

__all__ = ["FEWEST_HEAT_MAPS", "ClassFacts", "Preview"]

FEWEST_HEAT_MAPS = 6  # where the method tells of classes that win nowhere


@dataclass(frozen=True)
class ClassFacts:
    """One class in one image.

    Parameters
    ----------
    id, name
        Of the vocabulary.
    share
        Of all pixels of the image, in [0, 1].
    mean_score
        Mean score of the class over the pixels that it won; 0 if none.
    best_score
        Greatest score of the class anywhere.
    runner_up
        The labels know nothing of it: its scores are those before any rule or refiner.
    """

    id: int
    name: str
    share: float
    mean_score: float
    best_score: float
    runner_up: bool = False


@dataclass(frozen=True, eq=False)
class Preview:
    """A labelled image.

    Parameters
    ----------
    name
        Of the image, for titles.
    likely
        Scores of likely classes before any rule, for those that the mask does not hold; may be smaller than the image.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    mask: SoftMask
    vocabulary: Vocabulary
    likely: SoftMask | None = None

    @cached_property
    def labels(self) -> LabelMap:
        """The best class of each pixel, the ignore id where all abstain."""
        return harden(self.mask, ignore=self.vocabulary.ignore)

    @cached_property
    def coverage(self) -> float:
        """Share of pixels with a label."""
        return float((self.labels != self.vocabulary.ignore).mean())

    @cached_property
    def classes(self) -> tuple[ClassFacts, ...]:
        """Every class that has a score somewhere, the largest share first, then the best score; then runners-up."""
        own = self._ranked(self.mask)
        held, planes = {facts.id for facts in own}, []
        if self.likely is not None:
            planes = [p for p in zip(self.likely.class_ids, self.likely.scores, strict=True) if p[0] not in held]
        best = [(class_id, float(plane.max())) for class_id, plane in planes if plane.max() > 0]
        runners_up = [ClassFacts(i, self.vocabulary.classes[i], 0.0, 0.0, score, runner_up=True) for i, score in best]
        return (*own, *sorted(runners_up, key=lambda f: (-f.best_score, f.id))[: max(0, FEWEST_HEAT_MAPS - len(own))])

    def _ranked(self, mask: SoftMask) -> list[ClassFacts]:
        facts = [self._facts(class_id, plane) for class_id, plane in zip(mask.class_ids, mask.scores, strict=True)]
        return sorted((f for f in facts if f.best_score > 0), key=lambda f: (-f.share, -f.best_score, f.id))

    def _facts(self, class_id: int, plane: np.ndarray) -> ClassFacts:
        won = self.labels == class_id
        mean = float(plane[won].mean(dtype=np.float64)) if won.any() else 0.0
        name = self.vocabulary.classes[class_id]
        return ClassFacts(class_id, name, float(won.mean()), mean, float(plane.max()))

    def scores_of(self, facts: ClassFacts) -> Float32[np.ndarray, "H W"]:
        """The plane of one class."""
        mask = self.likely if facts.runner_up and self.likely else self.mask
        return mask.scores[mask.class_ids.index(facts.id)]

    @cached_property
    def colours(self) -> dict[int, Colour]:
        """Colours of the classes that are present, background left out; the largest get those easiest to tell."""
        present = [f.id for f in self.classes if f.share > 0 and f.id != self.vocabulary.background]
        return {class_id: CLEAR_COLOURS[k % len(CLEAR_COLOURS)] for k, class_id in enumerate(present)}

    @property
    def confidence(self) -> Float32[np.ndarray, "H W"]:
        """The best score of each pixel."""
        scores = self.mask.scores
        return scores.max(axis=0) if len(scores) else np.zeros(self.mask.size, np.float32)

    @cached_property
    def top(self) -> float:
        """The score at the upper end of the colour bars of all that has labels, so that its maps can be compared."""
        return round_top(max((facts.best_score for facts in self.classes if not facts.runner_up), default=1.0))

    def top_of(self, facts: ClassFacts) -> float:
        """The same for one class; what wins nowhere may be so faint that only a scale of its own shows it."""
        return self.top if facts.share else round_top(facts.best_score)
