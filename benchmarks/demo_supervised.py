"""Train the architecture of demo-ssvt on image-level tags of drawn scenes: the supervised backbone of the same size.

It is compared with the self-supervised demo-ssvt by `compare_demo.py`, which asks whether a backbone trained to
classify gains from being frozen. As many scenes (7,000) as demo-ssvt saw pairs of frames, other ones than those of the
demo data; tags are the classes that cover more than half a per cent of a scene. One core needs about half an hour;
expected mean average precision on the val scenes above .8.

    python benchmarks/demo_supervised.py WORK_FOLDER    # writes WORK_FOLDER/supervised.safetensors
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import nn

from labelgen.demo.scenes import draw_scene
from labelgen.nets.demo_ssvt import DEMO_MEAN, DEMO_STD, WIDTH, build_demo_ssvt, save_demo_ssvt
from labelgen.nets.training import learning_rate, unfuse_attention

SIDE = 128  # pixels
LEAST_SHARE = 0.005
RECIPE = {"scenes": 7000, "steps": 3000, "batch": 40, "lr": 1.5e-3, "decay": 0.05, "warmup": 0.03, "classes": 21}


def scenes(split: str, count: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 128, 128, 3) from the middle of scenes, and their tags (N, C)."""
    path = folder / f"{split}-{count}.npz"
    if not path.exists():
        pictures = np.empty((count, SIDE, SIDE, 3), np.uint8)
        tags = np.zeros((count, RECIPE["classes"]), np.float32)
        for number in range(count):
            scene = draw_scene(split, number)
            top, left = ((length - SIDE) // 2 for length in scene.labels.shape)
            pictures[number] = scene.image[top : top + SIDE, left : left + SIDE]
            labels = scene.labels[top : top + SIDE, left : left + SIDE]
            shares = np.bincount(labels[labels < 255].ravel(), minlength=RECIPE["classes"]) / labels.size
            tags[number] = shares > LEAST_SHARE
        np.savez(path, pictures=pictures, tags=tags)
    with np.load(path) as kept:
        return kept["pictures"], kept["tags"][:, 1:]  # without the background


class Classifier(nn.Module):
    """Mean of the tokens, then one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build_demo_ssvt(pretrained=False)
        unfuse_attention(self.net)
        self.classify = nn.Linear(WIDTH, RECIPE["classes"] - 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits of the classes."""
        return self.classify(self.net.forward_features(pictures).mean(1))


def prepared(pictures: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    """Normalised pictures; with a generator mirrored, shifted, relit and recoloured at random."""
    batch = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() / 255
    if rng is not None:
        mirrored = torch.from_numpy(rng.random(len(batch)) < 0.5)
        batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
        shift = rng.integers(-12, 13, size=2)
        batch = torch.roll(F.pad(batch, (12,) * 4, mode="reflect"), tuple(shift), (2, 3))[:, :, 12:-12, 12:-12]
        gain = torch.from_numpy(rng.uniform(0.7, 1.3, (len(batch), 3, 1, 1)).astype(np.float32))
        batch = batch * gain + torch.from_numpy(rng.uniform(-0.1, 0.1, (len(batch), 1, 1, 1)).astype(np.float32))
    mean, std = (torch.tensor(values)[:, None, None] for values in (DEMO_MEAN, DEMO_STD))
    return (batch - mean) / std


def mean_average_precision(model: Classifier, folder: Path) -> float:
    """Of the tags of the val scenes, over the classes that are there."""
    pictures, tags = scenes("val", 80, folder)
    with torch.inference_mode():
        scores = model(prepared(pictures, None)).sigmoid().numpy()
    present = tags.any(0)
    return float(np.mean([average_precision_score(tags[:, c], scores[:, c]) for c in np.flatnonzero(present)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=RECIPE["steps"])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = Classifier()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RECIPE["lr"], weight_decay=RECIPE["decay"])
    pictures, tags = scenes("supervised", RECIPE["scenes"], options.folder)
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for step in range(options.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, options.steps, peak=RECIPE["lr"], warmup=RECIPE["warmup"])
        chosen = rng.integers(len(pictures), size=RECIPE["batch"])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(prepared(pictures[chosen], rng))
        loss = F.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(tags[chosen]))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0 or step + 1 == options.steps:
            precision = mean_average_precision(model, options.folder)
            print(
                f"{step} loss {loss.item():.4f} mAP {precision:.3f} {time.perf_counter() - started:.0f} s", flush=True
            )
    about = {"recipe": {**RECIPE, "steps": options.steps}, "supervision": "tags", "val_map": round(precision, 4)}
    about |= {"seconds": round(time.perf_counter() - started)}
    save_demo_ssvt(model.net, options.folder / "supervised.safetensors", about=about)
    print(json.dumps(about))


if __name__ == "__main__":
    main()
