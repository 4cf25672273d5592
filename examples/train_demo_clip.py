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
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from checkpoints import load_checkpoint, save_checkpoint
from demo_clip_training.recipe import Recipe
from demo_clip_training.scenes import SPLIT, Pool
from demo_clip_training.student import Student, raise_norms, start_from_demo_ssvt
from demo_clip_training.texts import TEMPLATES, Texts
from torch import nn

from labelgen.demo import captions
from labelgen.nets.demo_clip import DEMO_CLIP_MEAN, DEMO_CLIP_STD, DEMO_CLIP_WEIGHTS, build_demo_clip, save_demo_clip
from labelgen.nets.demo_ssvt import build_demo_ssvt


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
    first, seconds = load_checkpoint(path, student, optimiser)
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
            save_checkpoint(path, student, optimiser, step + 1, seconds)
    return seconds


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
