"""Train demo-ssvt by self-supervision: no label, no mask, only drawn frames in pairs as from a video.

Two tasks at once, both dense or pooled over tokens:

- words: predict, for each visible token, which visual words lie around it in the undistorted frame. The words are the
  k-means centres of whitened grey patches, pooled over 3 x 3 and 7 x 7 tokens and whitened. After S. Gidaris et al.,
  "Learning Representations by Predicting Bags of Visual Words", CVPR 2020, arXiv 2002.12247, but per token.
- video: the two frames of a pair show the same objects in other poses, sizes, places and light; find the other
  frame of a pair among all frames (InfoNCE on the mean of the projected tokens).

The student sees its frames in false colours, with part of its tokens dropped.

    python examples/train_demo_ssvt.py WORK_FOLDER [--chunks 14] [--processes 2] [--export FILE]

The same architecture and tasks on photographs, whose two frames are two crops of one photograph; the weights are then
used by `--backbone demo-ssvt --weights FILE`:

    python examples/train_demo_ssvt.py WORK_FOLDER --images FOLDER_OR_LIST ... --export FILE

Two CPU cores need about an hour. Interrupted, the same command goes on from the last checkpoint.
"""

import argparse
import math
import os
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from checkpoints import load_checkpoint, save_checkpoint
from PIL import Image
from torch import nn

from labelgen.demo.pairs import draw_pair
from labelgen.nets.demo_ssvt import DEMO_MEAN, DEMO_STD, DEMO_WEIGHTS, WIDTH, build_demo_ssvt, save_demo_ssvt

CHUNK = 500  # pairs in a file of the bank
FRAME = 128  # pixels
GRID = FRAME // 8
WORD_PATCH = 8  # pixels
IMAGES = "images.txt"  # the photographs of the bank, if it is made from some


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, but for the number of processes and which chunks were ready at which step.

    The shipped weights were made by this script with small changes on the way: 32, then 16 pairs a batch until
    step 500, gradients instead of weights averaged until step 300, 6 chunks in the first cycle.
    """

    chunks: int = 14  # of 500 pairs each
    words: int = 384
    windows: tuple[int, int] = (3, 7)  # tokens
    targets: int = 256  # dimensions left after whitening
    meet: int = 10  # steps between two averages of the weights
    pairs: int = 24  # in a batch of one process
    crop: int = 14  # tokens along a side
    keep: tuple[float, ...] = (0.35, 0.5, 1.0)  # share of the tokens that is seen
    cycles: tuple[tuple[int, float], ...] = ((3000, 1.5e-3), (3900, 5e-4))  # last step and highest rate of each
    warmup: int = 80  # steps of the first cycle
    decay: float = 0.05
    video_from: int = 700  # step at which the video task begins
    video_weight: float = 0.3
    temperature: float = 0.15
    hue: float = 0.8  # radians of rotation in the plane of the colours


def listed_images(places: list[Path]) -> list[Path]:
    """Pictures below folders, and those that text files list, one path a line."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(p for p in place.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
        else:
            found += [Path(line) for line in place.read_text(encoding="utf-8").split("\n") if line]
    return found


def cut_pair(path: Path, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two crops of a photograph, at (128, 128, 3); each holds a quarter to all of its area, every other is mirrored."""
    with Image.open(path) as picture:
        whole = picture.convert("RGB")
    frames = []
    for _ in range(2):
        area, aspect = rng.uniform(0.25, 1.0), math.exp(rng.uniform(-0.2, 0.2))
        width = min(whole.width, math.sqrt(area * whole.width * whole.height * aspect))
        height = min(whole.height, width / aspect)
        left, top = rng.uniform(0, whole.width - width), rng.uniform(0, whole.height - height)
        box = (left, top, left + width, top + height)
        frame = np.asarray(whole.resize((FRAME, FRAME), Image.Resampling.BICUBIC, box=box))
        frames.append(frame[:, ::-1] if rng.random() < 0.5 else frame)
    return frames[0], frames[1]


def frames_of(folder: Path, chunk: int) -> np.ndarray:
    """Frames (500, 2, 128, 128, 3) uint8 of a chunk of the bank, drawn (or cut from photographs) when missing."""
    path = folder / f"c{chunk:04d}.npy"
    if not path.exists():
        rng = np.random.default_rng([77, chunk])
        photographs = listed_images([folder / IMAGES]) if (folder / IMAGES).exists() else []
        pairs = [
            cut_pair(photographs[(chunk * CHUNK + number) % len(photographs)], rng)
            if photographs
            else draw_pair(rng, size=(FRAME, FRAME))
            for number in range(CHUNK)
        ]
        drawn = np.stack([np.stack(pair) for pair in pairs])
        np.save(folder / "drawing.npy", drawn)
        (folder / "drawing.npy").replace(path)
    return np.load(path, mmap_mode="r")


def patches_of(frames: torch.Tensor, *, stride: int) -> torch.Tensor:
    """Grey patches (B, N, 64) of frames (B, 3, H, W), free of mean and contrast; N = H / stride * W / stride."""
    grey = (frames * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    grey = F.pad(grey, (3, 3, 3, 3), mode="reflect")
    patches = F.unfold(grey, WORD_PATCH, stride=stride).transpose(1, 2)
    patches = patches - patches.mean(-1, keepdim=True)
    return patches / (patches.std(-1, keepdim=True) + 0.03)


def learn_words(frames: torch.Tensor, count: int, *, rounds: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Whitening (64, 64) and unit words (count, 64) by spherical k-means.

    After A. Coates and A. Ng, "Learning Feature Representations with K-means", 2012.
    """
    patches = patches_of(frames, stride=3).flatten(0, 1)
    patches = patches[torch.randperm(len(patches))[:80_000]]
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    whitening = vectors @ torch.diag((values + 0.05) ** -0.5) @ vectors.T
    white = F.normalize(patches @ whitening, dim=1)
    words = white[torch.randperm(len(white))[:count]]
    for _ in range(rounds):
        nearest = (white @ words.T).argmax(1)
        words = torch.zeros_like(words).index_add_(0, nearest, white)
        empty = words.norm(dim=1) < 1e-3
        words[empty] = white[torch.randperm(len(white))[: int(empty.sum())]]
        words = F.normalize(words, dim=1)
    return whitening, words


def word_maps(frames: torch.Tensor, whitening: torch.Tensor, words: torch.Tensor, windows: tuple[int, ...]):
    """Pooled words (B, len(windows) * K, h, w) around each token of 8 x 8 pixels."""
    batch, _, height, width = frames.shape
    likeness = F.normalize(patches_of(frames, stride=2) @ whitening, dim=-1) @ words.T
    codes = F.relu(likeness - 0.25).transpose(1, 2).reshape(batch, len(words), height // 2, width // 2)
    maps = F.avg_pool2d(codes, 4)
    pooled = [F.avg_pool2d(maps, side, 1, side // 2, count_include_pad=False) for side in windows]
    return torch.cat(pooled, dim=1)


def learn_whitening(maps: torch.Tensor, dimensions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (D,) and projection (D, dimensions) on the whitened principal components of the standardised maps."""
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
    mean, scale = rows.mean(0), rows.std(0) + 1e-6
    normal = (rows - mean) / scale
    values, vectors = torch.linalg.eigh(normal.T @ normal / len(normal))
    keep = values.argsort(descending=True)[:dimensions]
    return mean, vectors[:, keep] / values[keep].sqrt() / scale[:, None]


def targets_of(folder: Path, chunk: int, recipe: Recipe) -> np.ndarray:
    """Targets (500, 2, 16, 16, D) float16 of a chunk, computed when they are missing."""
    path = folder / f"t{chunk:04d}.npy"
    if not path.exists():
        model = _word_model(folder, recipe)
        whitening, words, mean, projection = (model[key] for key in ("whitening", "words", "mean", "projection"))
        frames = frames_of(folder, chunk)
        targets = np.empty((CHUNK, 2, GRID, GRID, recipe.targets), np.float16)
        for first in range(0, CHUNK, 10):
            maps = word_maps(
                as_tensor(frames[first : first + 10].reshape(-1, FRAME, FRAME, 3)), whitening, words, recipe.windows
            )
            rows = (maps.permute(0, 2, 3, 1) - mean) @ projection
            targets[first : first + 10] = rows.clamp(-6, 6).reshape(10, 2, GRID, GRID, -1).numpy()
        np.save(folder / "targeting.npy", targets)
        (folder / "targeting.npy").replace(path)
    return np.load(path, mmap_mode="r")


def _word_model(folder: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    path = folder / "words.pt"
    if not path.exists():
        torch.manual_seed(0)
        frames = as_tensor(frames_of(folder, 0)[:300, 0])
        whitening, words = learn_words(frames, recipe.words)
        maps = torch.cat([word_maps(part, whitening, words, recipe.windows) for part in frames.split(20)])
        mean, projection = learn_whitening(maps, recipe.targets)
        torch.save({"whitening": whitening, "words": words, "mean": mean, "projection": projection}, path)
    return torch.load(path, weights_only=True)


def as_tensor(frames: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 255


def false_colours(frames: torch.Tensor, hue: float) -> torch.Tensor:
    """Turn, fade and relight the colours of each frame; add noise."""
    batch = len(frames)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(batch) * (high - low) + low

    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    angle, saturation = uniform(-hue, hue), uniform(0.4, 1.4) * (torch.rand(batch) > 0.1)
    turn = torch.zeros(batch, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * angle.cos()
    turn[:, 2, 1] = saturation * angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    coloured = torch.einsum("bij,bjhw->bihw", torch.linalg.inv(to_yiq) @ turn @ to_yiq, frames)
    middle = coloured.mean((1, 2, 3), keepdim=True)
    contrast, light = uniform(0.6, 1.5)[:, None, None, None], uniform(-0.2, 0.2)[:, None, None, None]
    lit = (coloured - middle) * contrast + middle + light
    return lit + 0.01 * torch.randn(batch, 1, *frames.shape[2:])


def normalised(frames: torch.Tensor) -> torch.Tensor:
    """Frames in [0, 1] as demo-ssvt expects them."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (DEMO_MEAN, DEMO_STD))
    return (frames - mean) / std


class Student(nn.Module):
    """The network with the two heads that are thrown away after training."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.net = build_demo_ssvt(pretrained=False)
        for block in self.net.blocks:
            block.attn.fused_attn = False  # the fused kernel is five times slower backwards in bfloat16 on a CPU
        self.to_words = nn.Sequential(nn.Linear(WIDTH, 384), nn.GELU(), nn.Linear(384, recipe.targets))
        self.to_video = nn.Sequential(nn.Linear(WIDTH, 384), nn.GELU(), nn.Linear(384, 128))

    def forward(self, frames: torch.Tensor, keep: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, n, D) of a random part of each frame, and which ones they are (B, n)."""
        tokens = self.net._pos_embed(self.net.patch_embed(frames))
        kept = torch.rand(tokens.shape[:2]).argsort(1)[:, : int(keep * tokens.shape[1])]
        tokens = tokens.gather(1, kept[..., None].expand(-1, -1, WIDTH))
        return self.net.norm(self.net.blocks(tokens)), kept


def draw_batch(bank: list[tuple[np.ndarray, np.ndarray]], recipe: Recipe, rng: np.random.Generator, pairs: int):
    """Frames (2B, 3, H, W) and targets (2B, h * w, D) of `pairs` pairs, first frames first, cropped by whole tokens."""
    frames, targets, side = [], [], recipe.crop
    chosen = [
        (bank[c], i) for c, i in zip(rng.integers(len(bank), size=pairs), rng.integers(CHUNK, size=pairs), strict=True)
    ]
    for view in (0, 1):
        for (pictures, words), index in chosen:
            row, col = rng.integers(GRID - side + 1, size=2)
            frames.append(pictures[index, view, 8 * row : 8 * (row + side), 8 * col : 8 * (col + side)])
            targets.append(words[index, view, row : row + side, col : col + side].reshape(side * side, -1))
    return as_tensor(np.stack(frames)), torch.from_numpy(np.stack(targets)).float()


def video_loss(projected: torch.Tensor, temperature: float) -> torch.Tensor:
    """InfoNCE: which second frame belongs to each first one, among all frames of the batch; projected is (2B, n, D)."""
    pooled = projected.float().mean(1)
    pooled = F.normalize(pooled - pooled.mean(0), dim=1)
    here, there = pooled.chunk(2)
    likeness = torch.cat([here @ there.T, here @ here.T], dim=1) / temperature
    likeness[:, len(here) :].fill_diagonal_(-torch.inf)
    return F.cross_entropy(likeness, torch.arange(len(here)))


def prepare_bank(folder: Path, recipe: Recipe) -> None:
    """Draw frames and compute targets, chunk after chunk; runs beside the training."""
    torch.set_num_threads(1)
    for chunk in range(recipe.chunks):
        targets_of(folder, chunk, recipe)


def bank_so_far(folder: Path, recipe: Recipe) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames and targets of the chunks that are ready; waits for the first."""
    while not (folder / "t0000.npy").exists():
        time.sleep(2)
    ready = [chunk for chunk in range(recipe.chunks) if (folder / f"t{chunk:04d}.npy").exists()]
    return [(frames_of(folder, chunk), targets_of(folder, chunk, recipe)) for chunk in ready]


def rate_at(step: int, recipe: Recipe) -> float:
    """Learning rate: in each cycle half a cosine from its highest rate down to a hundredth; a linear warm-up first."""
    first = 0
    for last, highest in recipe.cycles:
        if step < last:
            fall = 0.5 * (1 + math.cos(math.pi * (step - first) / (last - first)))
            return highest * min(1.0, (step + 1) / recipe.warmup) * (0.99 * fall + 0.01)
        first = last
    raise ValueError(f"step must be below {first}, got {step}")


def losses_of(student: Student, frames: torch.Tensor, targets: torch.Tensor, step: int, keep: float, recipe: Recipe):
    """Loss of both tasks on one batch."""
    with torch.autocast("cpu", torch.bfloat16):
        tokens, kept = student(normalised(false_colours(frames, recipe.hue)), keep)
        predicted = student.to_words(tokens)
        projected = student.to_video(tokens) if step >= recipe.video_from else None
    wanted = targets.gather(1, kept[..., None].expand(-1, -1, recipe.targets))
    words = F.mse_loss(predicted.float(), wanted)
    video = video_loss(projected, recipe.temperature) if projected is not None else torch.zeros(())
    return words, video


def average_weights(student: Student) -> None:
    """Mean of the weights over the processes (local SGD: they meet only every few steps)."""
    with torch.no_grad():
        flat = nn.utils.parameters_to_vector(student.parameters())
        dist.all_reduce(flat)
        nn.utils.vector_to_parameters(flat / dist.get_world_size(), student.parameters())


def train(rank: int, processes: int, folder: Path, recipe: Recipe, export: Path) -> None:
    """One of the training processes; the first one writes checkpoints and the weights."""
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=processes)
    torch.manual_seed(0)
    student = Student(recipe)
    optimiser = torch.optim.AdamW(student.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=recipe.decay)
    steps = recipe.cycles[-1][0]
    first, seconds = load_checkpoint(folder / "checkpoint.pt", student, optimiser)
    torch.manual_seed(1000 * first + rank)
    rng = np.random.default_rng([first, rank])
    started = time.monotonic() - seconds
    bank: list = []
    for step in range(first, steps):
        if (step - first) % 50 == 0:
            bank = bank_so_far(folder, recipe)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, recipe)
        keep = recipe.keep[step % len(recipe.keep)]
        # whole frames cost more, so that there are fewer of them
        frames, targets = draw_batch(bank, recipe, rng, recipe.pairs if keep < 1 else recipe.pairs // 2)
        words, video = losses_of(student, frames, targets, step, keep, recipe)
        optimiser.zero_grad()
        (words + recipe.video_weight * video).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        if processes > 1 and (step + 1) % recipe.meet == 0:
            average_weights(student)
        if rank == 0 and step % 25 == 0:
            seconds = time.monotonic() - started
            print(
                f"{step} words {words.item():.3f} video {video.item():.3f} chunks {len(bank)} {seconds:.0f} s",
                flush=True,
            )
        if rank == 0 and ((step + 1) % 100 == 0 or step + 1 == steps):
            seconds = time.monotonic() - started
            save_checkpoint(folder / "checkpoint.pt", student, optimiser, step + 1, seconds)
            about = {
                "recipe": asdict(recipe),
                "steps_done": step + 1,
                "processes": processes,
                "seconds": round(seconds),
            }
            save_demo_ssvt(student.net, export, about=about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="drawn frames, targets and checkpoints; about 5 GB")
    parser.add_argument("--chunks", type=int, default=Recipe.chunks)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--export", type=Path, default=DEMO_WEIGHTS)
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders, or text files that list pictures")
    last_steps = [last for last, _ in Recipe.cycles]
    parser.add_argument("--steps", type=int, nargs=2, default=last_steps, help="last step of each cycle")
    words = parser.parse_args()
    if words.images and words.export == DEMO_WEIGHTS:
        parser.error("weights from photographs need their own --export: the shipped ones learned from drawn scenes")
    rates = [rate for _, rate in Recipe.cycles]
    recipe = Recipe(chunks=words.chunks, cycles=tuple(zip(words.steps, rates, strict=True)))
    words.folder.mkdir(parents=True, exist_ok=True)
    if words.images:
        photographs = sorted(listed_images(words.images))
        random.Random(0).shuffle(photographs)  # so that each chunk holds some of every source
        (words.folder / IMAGES).write_text("\n".join(str(p.resolve()) for p in photographs), encoding="utf-8")
    (words.folder / "meeting").unlink(missing_ok=True)  # of an interrupted run
    os.environ["OMP_NUM_THREADS"] = "1"
    drawing = torch.multiprocessing.get_context("spawn").Process(
        target=prepare_bank, args=(words.folder, recipe), daemon=True
    )
    drawing.start()
    arguments = (words.processes, words.folder.resolve(), recipe, words.export.resolve())
    torch.multiprocessing.spawn(train, arguments, nprocs=words.processes)


if __name__ == "__main__":
    main()
