"""Captions of scenes and close-ups as tokens, and which of them fit which picture."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import OPENAI_IMAGENET_TEMPLATES

from demo_clip_training.recipe import Recipe
from demo_clip_training.scenes import Seen
from labelgen.demo import captions
from labelgen.nets.demo_clip import CONTEXT, demo_clip_tokenizer

TEMPLATES = (*(template("{}") for template in OPENAI_IMAGENET_TEMPLATES), *captions.TEMPLATES)


class Drawn(NamedTuple):
    """Texts of a batch and what they say of its images."""

    tokens: torch.Tensor  # (T, L)
    fits: torch.Tensor  # (B, T), whether a text is true of an image
    plain: torch.Tensor  # (T,), whether it is about one thing
    doubted: torch.Tensor  # (B, T), whether it is neither true of an image nor false of its patches
    doubted_whole: torch.Tensor  # (B, T), the same of the image as a whole


class Texts:
    """Captions as tokens, and which of them fit which image."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.tokenizer = demo_clip_tokenizer()
        self.row_ids = torch.tensor(sorted(self._tokens()))

    def _tokens(self) -> set[int]:
        """Every token that can occur in a caption."""
        fillers = [template.format(" ") for template in (*TEMPLATES, *captions.SENTENCES)]
        words = [*fillers, *captions.all_words(), "a , and a"]
        special = {self.tokenizer.sot_token_id, self.tokenizer.eot_token_id}
        return special.union(*(self.tokenizer.encode(text) for text in words))

    def draw(self, rng: np.random.Generator, seen: list[Seen]) -> Drawn:
        """Captions of the images, then texts that fit no image; those are about one thing."""
        drawn = [self._caption(rng, image) for image in seen for _ in range(self.recipe.captions)]
        nothing = [captions.false_text(rng, templates=TEMPLATES) for _ in range(self.recipe.false_texts)]
        tokens = self.tokenizer([caption.text for caption in drawn] + nothing)
        unknown = torch.stack([self._unknown(rng) for _ in range(self.recipe.unknown_texts)])
        fits = np.array([[caption.concepts <= image.certain for caption in drawn] for image in seen])
        maybe = [[caption.concepts <= image.certain | image.doubtful for caption in drawn] for image in seen]
        doubted = np.array(maybe) & ~fits
        background = [caption.concepts <= captions.BACKGROUNDS.keys() for caption in drawn]
        doubted_whole = doubted & ~np.logical_and.outer([image.filled for image in seen], background)
        plain = torch.tensor([len(caption.concepts) == 1 for caption in drawn])
        others = (0, len(nothing) + len(unknown))
        return Drawn(
            torch.cat([tokens, unknown]),
            F.pad(torch.from_numpy(fits), others),
            F.pad(plain, others, value=True),
            F.pad(torch.from_numpy(doubted), others),
            F.pad(torch.from_numpy(doubted_whole), others),
        )

    @staticmethod
    def _caption(rng: np.random.Generator, image: Seen) -> captions.Caption:
        """A caption that is certainly true."""
        while True:
            caption = captions.caption(rng, image.place, image.classes, templates=TEMPLATES)
            if caption.concepts <= image.certain:
                return caption

    def _unknown(self, rng: np.random.Generator) -> torch.Tensor:
        """A template that ends in one to three tokens of any kind."""
        start = self.tokenizer.encode(TEMPLATES[rng.integers(len(TEMPLATES))].split("{}")[0])
        noise = rng.integers(self.tokenizer.sot_token_id, size=int(rng.integers(1, 4))).tolist()
        ids = [self.tokenizer.sot_token_id, *start, *noise, self.tokenizer.eot_token_id]
        return F.pad(torch.tensor(ids), (0, CONTEXT - len(ids)))
