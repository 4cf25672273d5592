"""Train demo-clip: an image-text model of the demo world, from drawn scenes and captions; no mask enters a loss.

Four steps:

1. Scenes are drawn into the work folder, from a split of their own, so that the train and val scenes of the demo data
   stay unseen. A scene keeps its image, its place and the classes of its cast.
2. The image tower starts from demo-ssvt: its six blocks are copied, and patch embedding, positions and blocks learn
   to give demo-ssvt's tokens (mean squared error). demo-ssvt itself has never seen a label.
3. Both towers learn from captions by a contrastive loss with the false negatives taken out: a text that fits an image
   is compared only with texts that do not, and the other way round. Texts about classes and backgrounds that are never
   drawn, and texts with random tokens, fit no image. Two readings of the image are compared with the texts: the class
   token, as in CLIP; and what the last block's attention alone gives for each patch when it keeps its own value, or
   attends by likeness of queries or of keys. Of the latter a smooth maximum over the patches counts (as in FILIP, but
   a mean of exponentials, and for texts about one thing only), which says no more than that what is named is
   somewhere, and what is not named is nowhere. A random part of the patches is left out in each step.
4. Half of each batch are close-ups: square parts of scenes, many of them tiles of a grid, magnified to the size of a
   scene. Without them the model calls a tile that one object fills background. The caption of a close-up names what
   its author would see: the objects that cover a good part of it, or else the place, as for an empty scene. The author
   of the captions reads that off the label map of the scene, and this is all that the label map is for: no loss knows
   where in a close-up an object is. Still, that a part of a scene has a caption of its own says more than captions of
   whole scenes do. Texts about what covers only little of a close-up are left out for it, as neither true nor false;
   a text about the background alone is false of a close-up that objects fill, as another caption would be in CLIP.

Dense methods for CLIP replace the attention of the last block by just those, so that this model favours them. How well
they do on it says nothing about how well they do on models that were trained on the class token alone.

    python examples/train_demo_clip.py WORK_FOLDER [--steps 2800] [--close-steps 900] [--compile] [--export FILE]

Interrupted, the same command goes on from the last checkpoint. One CPU core needs about an hour.

References
----------
A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
L. Yao et al., "FILIP: Fine-grained Interactive Language-Image Pre-Training", ICLR 2022, arXiv 2111.07783.
Y. Li et al., "Scaling Language-Image Pre-training via Masking", CVPR 2023, arXiv 2212.00794 (patches left out).
"""

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import nn

from labelgen.demo import captions
from labelgen.demo.backgrounds import PLACES
from labelgen.demo.compose import draw_cast, picture
from labelgen.demo.render import paint_object
from labelgen.demo.scenes import scene_rng
from labelgen.nets.demo_clip import (
    CONTEXT,
    DEMO_CLIP_MEAN,
    DEMO_CLIP_STD,
    DEMO_CLIP_WEIGHTS,
    build_demo_clip,
    demo_clip_tokenizer,
    save_demo_clip,
)
from labelgen.nets.demo_ssvt import build_demo_ssvt
from labelgen.nets.geometry import resize_image
from labelgen.nets.zeroseg.tiles import tile_boxes

SIDE = 128  # pixels
SPLIT = "captions"  # the demo data set has train and val
PLACE_NAMES = tuple(PLACES)
TEMPLATES = (*(template("{}") for template in OPENAI_IMAGENET_TEMPLATES), *captions.TEMPLATES)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, but for how many threads compute it and whether blocks are fused.

    The shipped weights were made by this script with small changes on the way: until step 300 of the captions batches
    had 64 images and 24 false texts; until step 400 the rate fell towards step 2400; until step 1300 the mixer was
    `values`; the images of the second part came from another stream of random numbers.
    """

    seed: int = 0
    chunks: int = 16
    chunk: int = 2000  # scenes in a chunk
    empty: float = 0.08  # share of scenes without objects
    distil_steps: int = 300
    distil_batch: int = 32
    distil_rate: float = 1.5e-3
    steps: int = 2800
    batch: int = 40  # images; half of it where most patches are kept
    captions: int = 2  # of each image
    false_texts: int = 20  # in a batch, about things that are never drawn
    unknown_texts: int = 8  # in a batch, with tokens that occur in no caption
    keep: tuple[float, ...] = (0.35, 0.5, 0.5, 0.8)  # share of the patches that is seen
    rate: float = 4e-4
    warmup: int = 60  # steps
    decay: float = 0.05
    highest_scale: float = 40.0  # of the logits; what dense methods use
    mixers: tuple[str, ...] = ("values", "queries", "keys")  # step by step, how patches attend in the second reading
    local_weight: float = 1.0  # of the loss on patch values, against that on image vectors
    text_weight: float = 0.5  # of the loss from texts to images, against that from images to texts
    close_steps: int = 900
    close_chunks: int = 6  # of the pool, whose label maps tell what a close-up shows
    close_rate: float = 2e-4
    close_warmup: int = 40  # steps
    grids: tuple[int, ...] = (2, 3, 4)  # a close-up is a tile of one of these
    free_windows: float = 0.4  # share of the close-ups that lie anywhere, with a side of a quarter of the scene or more
    shown: float = 0.15  # share of a close-up from which on an object is named
    faint: float = 0.03  # below this share an object is taken not to be there
    filled: float = 0.3  # share of objects from which on nobody names the background alone
    norm_gain: float = 4.0  # see `raise_norms`; chosen on train scenes


@dataclass(frozen=True)
class Seen:
    """What may be said of an image: `certain` concepts are true of it, `doubtful` ones neither true nor false."""

    place: str
    classes: tuple[int, ...]  # that captions name
    certain: frozenset[str]
    doubtful: frozenset[str] = field(default_factory=frozenset)
    filled: bool = False  # with objects, so that a text about the background alone is false


def whole_scene(place: str, classes: Collection[int]) -> Seen:
    """Everything is certain of a whole scene."""
    return Seen(place, tuple(sorted(classes)), captions.concepts_of(place, classes))


def close_up(place: str, labels: np.ndarray, recipe: Recipe) -> Seen:
    """What the author of a caption sees in the part of a scene that has these labels (h, w)."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    shares = dict(zip(ids.tolist(), (counts / labels.size).tolist(), strict=True))
    classes = tuple(class_id for class_id, share in shares.items() if share >= recipe.shown)
    faint = {str(class_id) for class_id, share in shares.items() if recipe.faint <= share < recipe.shown}
    behind = frozenset(captions.PLACE_CONCEPTS[place])
    if not classes:
        return Seen(place, (), behind, frozenset(faint))
    certain = frozenset(str(class_id) for class_id in classes)
    return Seen(place, classes, certain, behind | faint, sum(shares.values()) >= recipe.filled)


def draw_captioned(index: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (128, 128, 3) uint8, label map (128, 128), and facts (22,): number of the place, then 1 for each VOC id."""
    rng = scene_rng(SPLIT, index, seed=recipe.seed)
    place, cast = draw_cast(rng)
    facts = np.zeros(22, np.uint8)
    facts[0] = PLACE_NAMES.index(place)
    if rng.random() < recipe.empty:
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        horizon = SIDE - 14 if place == "sky" else int(SIDE * (0.32 + 0.28 * rng.random()))
        parts = PLACES[place](rng, SIDE, SIDE, horizon)
        paint_object(image, parts, np.eye(2, 3), offset=int(rng.integers(64)))
        return image, np.zeros((SIDE, SIDE), np.uint8), facts
    facts[[1 + actor.class_id for actor in cast]] = 1
    image, labels, _ = picture(rng, place, cast, size=(SIDE, SIDE))
    return image, labels, facts


def draw_chunk(folder: Path, chunk: int, recipe: Recipe) -> None:
    """Draw a chunk of the pool, unless it is there."""
    path = folder / f"scenes{chunk:03d}.npy"
    if path.exists():
        return
    drawn = [draw_captioned(chunk * recipe.chunk + number, recipe) for number in range(recipe.chunk)]
    np.save(folder / f"facts{chunk:03d}.npy", np.stack([facts for _, _, facts in drawn]))
    if chunk < recipe.close_chunks:
        np.save(folder / f"labels{chunk:03d}.npy", np.stack([labels for _, labels, _ in drawn]))
    np.save(folder / f"writing{chunk:03d}.npy", np.stack([image for image, _, _ in drawn]))
    (folder / f"writing{chunk:03d}.npy").replace(path)


class Pool:
    """The drawn scenes, read from the work folder."""

    def __init__(self, folder: Path, recipe: Recipe, processes: int) -> None:
        jobs = [(folder, chunk, recipe) for chunk in range(recipe.chunks)]
        if processes > 1:
            with multiprocessing.get_context("spawn").Pool(processes) as workers:
                workers.starmap(draw_chunk, jobs, chunksize=1)
        else:
            for job in jobs:
                draw_chunk(*job)
        numbers = range(recipe.chunks)
        self.images = [np.load(folder / f"scenes{number:03d}.npy", mmap_mode="r") for number in numbers]
        self.facts = [np.load(folder / f"facts{number:03d}.npy") for number in numbers]
        self.labels = [np.load(folder / f"labels{n:03d}.npy", mmap_mode="r") for n in numbers[: recipe.close_chunks]]
        self.recipe = recipe

    def draw(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, list[Seen]]:
        """`count` random images (B, 3, H, W) uint8, and what may be said of each."""
        places = [(c, int(rng.integers(len(self.facts[c])))) for c in rng.integers(len(self.images), size=count)]
        images = np.stack([self.images[c][i] for c, i in places])
        facts = [self.facts[c][i] for c, i in places]
        seen = [whole_scene(PLACE_NAMES[row[0]], np.flatnonzero(row[1:]).tolist()) for row in facts]
        return torch.from_numpy(images).permute(0, 3, 1, 2), seen

    def draw_close_ups(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, list[Seen]]:
        """`count` random close-ups (B, 3, H, W) uint8, and what may be said of each."""
        images, seen = [], []
        for chunk in rng.integers(len(self.labels), size=count):
            index = int(rng.integers(len(self.labels[chunk])))
            top, left, bottom, right = random_window(rng, self.recipe)
            images.append(resize_image(self.images[chunk][index, top:bottom, left:right], (SIDE, SIDE)))
            place = PLACE_NAMES[self.facts[chunk][index, 0]]
            seen.append(close_up(place, self.labels[chunk][index, top:bottom, left:right], self.recipe))
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), seen


def random_window(rng: np.random.Generator, recipe: Recipe) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a close-up: a tile, or a square anywhere."""
    if rng.random() >= recipe.free_windows:
        boxes = tile_boxes((SIDE, SIDE), (recipe.grids[rng.integers(len(recipe.grids))],))
        return tuple(boxes[rng.integers(len(boxes))].tolist())
    side = int(rng.integers(SIDE // 4, SIDE + 1))
    top, left = (int(start) for start in rng.integers(SIDE - side + 1, size=2))
    return top, left, top + side, left + side


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


class Rows(nn.Module):
    """A token table of which only some rows are trained, without 49408 gradients."""

    def __init__(self, table: torch.Tensor, row_ids: torch.Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(table[row_ids].clone())
        position = torch.full((len(table),), -1)
        position[row_ids] = torch.arange(len(row_ids))
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("position", position, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., D)."""
        place = self.position[tokens]
        return torch.where((place >= 0)[..., None], self.rows[place.clamp(min=0)], self.table[tokens])

    def whole(self) -> torch.Tensor:
        """The table (V, D) with the trained rows in it."""
        return torch.where((self.position >= 0)[:, None], self.rows.detach()[self.position.clamp(min=0)], self.table)


class Student(nn.Module):
    """demo-clip while it learns: the same weights, with patches left out and texts cut where they end."""

    def __init__(self, row_ids: torch.Tensor, recipe: Recipe, *, compiled: bool = False) -> None:
        super().__init__()
        self.run = torch.compile(run_block, dynamic=False) if compiled else run_block
        self.model = build_demo_clip(pretrained=False, seed=recipe.seed)
        self.row_ids = row_ids
        self.model.token_embedding = Rows(self.model.token_embedding.weight.detach(), row_ids)

    def tokens(self, images: torch.Tensor, keep: float, generator: torch.Generator) -> torch.Tensor:
        """Class token and a random part of the patches (B, 1 + n, W), before the first block."""
        tower = self.model.visual
        positions = tower.positional_embedding
        patches = tower.conv1(images).flatten(2).transpose(1, 2) + positions[1:]
        if keep < 1:
            kept = torch.rand(patches.shape[:2], generator=generator).argsort(1)[:, : int(keep * patches.shape[1])]
            patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[2]))
        first = (tower.class_embedding + positions[0]).expand(len(patches), 1, -1)
        return tower.ln_pre(torch.cat([first, patches], dim=1))

    def images(
        self, images: torch.Tensor, keep: float, generator: torch.Generator, *, mixer: str = "values"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image vectors (B, D) as open_clip reads them, and the patches of the last block's attention (B, n, D)."""
        tower = self.model.visual
        tokens = self.tokens(images, keep, generator)
        for block in tower.transformer.resblocks[:-1]:
            tokens = self.run(block, tokens)
        last = tower.transformer.resblocks[-1]
        attended, patches = last_attention(last, tokens, mixer)
        pooled = tokens[:, 0] + attended
        pooled = pooled + last.mlp(last.ln_2(pooled))
        return tower.ln_post(pooled) @ tower.proj, tower.ln_post(patches[:, 1:]) @ tower.proj

    def texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Text vectors (T, D); what stands behind the end token cannot reach it, so that it is left out."""
        model, ends = self.model, tokens.argmax(1)
        length = int(ends.max()) + 1
        x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        return x[torch.arange(len(x)), ends] @ model.text_projection


def attend(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Output of a block's attention, before the residual; the fused kernel is slower backwards on a CPU."""
    normal, heads = block.ln_1(tokens), block.attn.num_heads
    count, length, width = normal.shape
    projected = F.linear(normal, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = projected.reshape(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    weights = (query * (width // heads) ** -0.5 @ key.mT).softmax(-1)
    return block.attn.out_proj((weights @ value).transpose(1, 2).flatten(2))


def last_attention(block: nn.Module, tokens: torch.Tensor, mixer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention output of the class token (B, W), and that of all tokens with the mixer's attention (B, 1 + n, W)."""
    normal, heads = block.ln_1(tokens), block.attn.num_heads
    count, length, width = normal.shape
    projected = F.linear(normal, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = projected.reshape(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    scale = (width // heads) ** -0.5
    pooled = (query[:, :, :1] * scale @ key.mT).softmax(-1) @ value
    if mixer != "values":
        alike = {"queries": query, "keys": key}[mixer]
        value = (alike * scale @ alike.mT).softmax(-1) @ value
    pooled, mixed = (block.attn.out_proj(part.transpose(1, 2).flatten(2)) for part in (pooled, value))
    return pooled[:, 0], mixed


def run_block(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """One residual block."""
    tokens = tokens + attend(block, tokens)
    return tokens + block.mlp(block.ln_2(tokens))


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Images in [0, 255] as both networks expect them; demo-ssvt and demo-clip have the same mean and deviation."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (DEMO_CLIP_MEAN, DEMO_CLIP_STD))
    return (images.float() / 255 - mean) / std


def varied(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images; change their light and tint."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images).float()
    light = torch.rand((len(images), 1, 1, 1), generator=generator) * 0.3 + 0.85
    tint = torch.rand((len(images), 3, 1, 1), generator=generator) * 0.2 + 0.9
    return images * light * tint


def contrastive_loss(logits: torch.Tensor, fits: torch.Tensor, doubted: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each fitting column against all columns that do not fit, mean over the rows.

    Within a row, a column that fits few rows weighs more than one that fits nearly all: `sky` says less than `cow`.
    Rows that nothing fits do not count, nor do pairs that are doubted.
    """
    ignored = fits | doubted
    others = logits.masked_fill(ignored, -1e4).logsumexp(1, keepdim=True)  # -inf would give NaN if all are ignored
    weights = fits / fits.sum(0).clamp(min=1)
    losses = (F.softplus(others - logits) * weights).sum(1) / weights.sum(1).clamp(min=1e-6)
    return losses.sum() / fits.any(1).sum().clamp(min=1)


def start_from_demo_ssvt(student: Student) -> None:
    """Copy blocks, positions and last norm of demo-ssvt; its two-convolution stem has no counterpart."""
    teacher, tower = build_demo_ssvt(), student.model.visual
    pairs: list[tuple[nn.Module, nn.Module]] = [(tower.ln_post, teacher.norm)]
    with torch.no_grad():
        tower.positional_embedding[1:] = teacher.pos_embed[0]
        for block, source in zip(tower.transformer.resblocks, teacher.blocks, strict=True):
            block.attn.in_proj_weight.copy_(source.attn.qkv.weight)
            block.attn.in_proj_bias.copy_(source.attn.qkv.bias)
            pairs += [
                (block.ln_1, source.norm1),
                (block.attn.out_proj, source.attn.proj),
                (block.ln_2, source.norm2),
                (block.mlp.c_fc, source.mlp.fc1),
                (block.mlp.c_proj, source.mlp.fc2),
            ]
    for module, source in pairs:
        module.load_state_dict(source.state_dict())


def distil_rate(step: int, recipe: Recipe) -> float:
    """Learning rate of the second step: a short linear warm-up, then half a cosine to zero."""
    fall = 0.5 * (1 + math.cos(math.pi * step / recipe.distil_steps))
    return recipe.distil_rate * min(1.0, (step + 1) / 30) * fall


def learn_rate(step: int, recipe: Recipe) -> float:
    """Learning rate of the third step: a linear warm-up, then half a cosine to a hundredth."""
    fall = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return recipe.rate * min(1.0, (step + 1) / recipe.warmup) * (0.99 * fall + 0.01)


def close_rate(step: int, recipe: Recipe) -> float:
    """Learning rate of the fourth step: a linear warm-up, then half a cosine to zero."""
    fall = 0.5 * (1 + math.cos(math.pi * step / recipe.close_steps))
    return recipe.close_rate * min(1.0, (step + 1) / recipe.close_warmup) * fall


def generators(recipe: Recipe, phase: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Chance of one step, the same whether or not training was interrupted before it."""
    rng = np.random.default_rng([recipe.seed, phase, step])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**31)))


def distil_loss(student: Student, teacher: nn.Module, pool: Pool, step: int, recipe: Recipe) -> torch.Tensor:
    """Squared error of the patch tokens against demo-ssvt's, in units of their variance."""
    rng, generator = generators(recipe, 0, step)
    images = normalised(pool.draw(rng, recipe.distil_batch)[0])
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            wanted = teacher(images).float()
        tokens = student.tokens(images, 1.0, generator)
        for block in student.model.visual.transformer.resblocks:
            tokens = student.run(block, tokens)
        given = student.model.visual.ln_post(tokens)[:, 1:].float()
    return F.mse_loss(given, wanted) / wanted.var()


def caption_loss(
    student: Student, texts: Texts, pool: Pool, step: int, recipe: Recipe, *, close_ups: bool = False
) -> torch.Tensor:
    """Contrastive loss of image vectors and of patch values, in both directions."""
    rng, generator = generators(recipe, 2 if close_ups else 1, step)
    keep = recipe.keep[step % len(recipe.keep)]
    count = recipe.batch if keep < 0.7 else recipe.batch // 2
    images, seen = pool.draw(rng, count - count // 2 if close_ups else count)
    if close_ups:
        closer, seen_closer = pool.draw_close_ups(rng, count // 2)
        images, seen = torch.cat([images, closer]), seen + seen_closer
    tokens, fits, plain, doubted, doubted_whole = texts.draw(rng, seen)
    with torch.autocast("cpu", torch.bfloat16):
        vectors, patches = student.images(
            normalised(varied(images, generator)), keep, generator, mixer=recipe.mixers[step % len(recipe.mixers)]
        )
        written = student.texts(tokens)
    written = F.normalize(written.float(), dim=1)
    scale = student.model.logit_scale.exp()
    whole = scale * F.normalize(vectors.float(), dim=1) @ written.T
    parts = scale * F.normalize(patches.float(), dim=2) @ written[plain].T
    local = parts.logsumexp(1) - math.log(parts.shape[1])
    readings = (
        (1.0, whole, fits, doubted_whole),
        (recipe.local_weight, local, fits[:, plain], doubted[:, plain]),
    )
    loss = torch.zeros(())
    for weight, logits, true, unsure in readings:
        back = contrastive_loss(logits.T, true.T, unsure.T)
        loss = loss + weight * (contrastive_loss(logits, true, unsure) + recipe.text_weight * back)
    return loss


def optimiser_of(student: Student, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; vectors, embeddings and positions do not decay."""
    named = list(student.named_parameters())
    free = [p.ndim < 2 or "embedding" in name for name, p in named]
    groups = [
        {"params": [p for (_, p), f in zip(named, free, strict=True) if not f], "weight_decay": recipe.decay},
        {"params": [p for (_, p), f in zip(named, free, strict=True) if f], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))


def run_phase(
    student: Student,
    path: Path,
    losses: Callable[[int], torch.Tensor],
    steps: int,
    rate: Callable[[int, Recipe], float],
    recipe: Recipe,
    every: int,
) -> float:
    """Take the optimiser through `steps` losses with checkpoints in `path`; returns the seconds it took in all."""
    optimiser = optimiser_of(student, recipe)
    first, seconds = _resume(path, student, optimiser)
    started = time.monotonic() - seconds
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, recipe)
        loss = losses(step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            student.model.logit_scale.clamp_(max=math.log(recipe.highest_scale))
        seconds = time.monotonic() - started
        if step % 20 == 0:
            print(f"{path.stem} {step} loss {loss.item():.3f} {seconds:.0f} s", flush=True)
        if (step + 1) % every == 0 or step + 1 == steps:
            _checkpoint(path, student, optimiser, step + 1, seconds)
    return seconds


def _checkpoint(path: Path, student: Student, optimiser: torch.optim.Optimizer, step: int, seconds: float) -> None:
    state = {"student": student.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, path.with_suffix(".writing"))
    path.with_suffix(".writing").replace(path)


def _resume(path: Path, student: Student, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    student.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["seconds"]


def train(
    folder: Path, recipe: Recipe, *, processes: int = 2, every: int = 100, compiled: bool = False
) -> tuple[Student, float]:
    """All four steps, with checkpoints after every `every` steps; returns the seconds it took as well."""
    folder.mkdir(parents=True, exist_ok=True)
    pool, texts = Pool(folder, recipe, processes), Texts(recipe)
    student = Student(texts.row_ids, recipe, compiled=compiled)
    start_from_demo_ssvt(student)
    teacher = build_demo_ssvt().eval().requires_grad_(False)
    distilled = run_phase(
        student, folder / "distil.pt", lambda step: distil_loss(student, teacher, pool, step, recipe),
        recipe.distil_steps, distil_rate, recipe, every,
    )  # fmt: skip
    learned = run_phase(
        student, folder / "captions.pt", lambda step: caption_loss(student, texts, pool, step, recipe),
        recipe.steps, learn_rate, recipe, every,
    )  # fmt: skip
    magnified = run_phase(
        student, folder / "closeups.pt", lambda step: caption_loss(student, texts, pool, step, recipe, close_ups=True),
        recipe.close_steps, close_rate, recipe, every,
    )  # fmt: skip
    return student, distilled + learned + magnified


def raise_norms(model: nn.Module, gain: float) -> None:
    """Multiply what the first norm of each block of the image tower gives, and divide what reads it: the same function.

    GEM takes its temperature from the length of those vectors. With 160 channels and demo-ssvt's weights they are so
    short that its attention is almost uniform; no other method notices.
    """
    with torch.no_grad():
        for block in model.visual.transformer.resblocks:
            block.ln_1.weight.mul_(gain)
            block.ln_1.bias.mul_(gain)
            block.attn.in_proj_weight.div_(gain)


def export(student: Student, path: Path, recipe: Recipe, seconds: float) -> None:
    """Write the weights of demo-clip with all that is to be said about them."""
    model = build_demo_clip(pretrained=False)
    state = student.model.state_dict()
    state.pop("token_embedding.rows")
    model.load_state_dict(state | {"token_embedding.weight": student.model.token_embedding.whole()}, strict=True)
    raise_norms(model, recipe.norm_gain)
    about = {
        "recipe": asdict(recipe),
        "split": SPLIT,
        "image_tower": "starts from demo-ssvt",
        "supervision": "captions of drawn scenes and of close-ups of them; label maps tell the authors of captions of "
        "close-ups what those show, and enter no loss",
        "names": {str(class_id): list(names) for class_id, names in captions.NAMES.items()},
        "backgrounds": {concept: list(words) for concept, words in captions.BACKGROUNDS.items()},
        "never_drawn": list(captions.NEVER_DRAWN),
        "templates": list(TEMPLATES),
        "seconds": round(seconds),
    }
    save_demo_clip(model, path, row_ids=student.row_ids, about=about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="drawn scenes and checkpoints; about 2 GB")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--close-steps", type=int, default=Recipe.close_steps)
    parser.add_argument("--processes", type=int, default=2, help="that draw scenes")
    parser.add_argument("--export", type=Path, default=DEMO_CLIP_WEIGHTS)
    parser.add_argument("--compile", action="store_true", help="fuse the blocks: a fifth faster, needs a C++ compiler")
    words = parser.parse_args()
    recipe = Recipe(steps=words.steps, close_steps=words.close_steps)
    student, seconds = train(words.folder, recipe, processes=words.processes, compiled=words.compile)
    export(student, words.export, recipe, seconds)


if __name__ == "__main__":
    main()
