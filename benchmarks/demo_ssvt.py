"""How much demo-ssvt sees: a linear probe with full truth on the demo scenes, trained against untrained and colours.

Data: the 160 train and 80 val scenes of the demo data. Probe: softmax regression on standardised features, read
bilinearly at 400 random pixels of each train image, 300 steps of AdamW; logits enlarged bilinearly to the full val
images. mIoU over the background and ten classes from one confusion matrix. Three probe seeds; three nets for untrained.
Expected on two cores: two minutes; trained at least 0.10 above untrained.

    python benchmarks/demo_ssvt.py [--weights FILE]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from record import write_result

from labelgen.demo.scenes import SCENE_CLASSES, SPLITS, draw_scene
from labelgen.nets.demo_ssvt import DEMO_MEAN, DEMO_STD, DEMO_WEIGHTS, build_demo_ssvt, demo_ssvt_metadata

SEEDS = (0, 1, 2)
PIXELS = 400
STEPS = 300
BATCH = 8192
Features = Callable[[torch.Tensor], torch.Tensor]  # (3, H, W) in [0, 1] to (D, h, w)
Split = list[tuple[torch.Tensor, torch.Tensor]]


def load(split: str) -> Split:
    """Images (3, H, W) in [0, 1] and truth (H, W) as positions in SCENE_CLASSES."""
    position = np.zeros(256, dtype=np.int64)
    position[list(SCENE_CLASSES)] = np.arange(len(SCENE_CLASSES))
    scenes = (draw_scene(split, index) for index in range(SPLITS[split]))
    return [
        (torch.from_numpy(s.image).permute(2, 0, 1).float() / 255, torch.from_numpy(position[s.labels])) for s in scenes
    ]


def colours(image: torch.Tensor) -> torch.Tensor:
    """RGB and its products."""
    red, green, blue = image
    return torch.stack([*image, red * red, green * green, blue * blue, red * green, green * blue, red * blue])


def colour_patches(image: torch.Tensor) -> torch.Tensor:
    """RGB of the 5 x 5 pixels around, and their squares."""
    around = F.unfold(F.pad(image[None], (2, 2, 2, 2), mode="reflect"), 5)[0].view(75, *image.shape[1:])
    return torch.cat([around, around * around])


def tokens_of(net: torch.nn.Module) -> Features:
    """Tokens after the last block and norm."""
    mean_, std_ = (torch.tensor(values)[:, None, None] for values in (DEMO_MEAN, DEMO_STD))

    def features(image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            tokens = net(((image - mean_) / std_)[None])[0]
        return tokens.T.reshape(-1, image.shape[1] // 8, image.shape[2] // 8)

    return features


def probe(features: Features, train: Split, val: Split, seed: int) -> np.ndarray:
    """IoU of each of SCENE_CLASSES on val."""
    generator = torch.Generator().manual_seed(seed)
    rows, labels = [], []
    for image, truth in train:
        chosen = torch.randint(truth.numel(), (PIXELS,), generator=generator)
        height, width = truth.shape
        grid = torch.stack([(chosen % width + 0.5) / width, (chosen // width + 0.5) / height], dim=-1) * 2 - 1
        read = F.grid_sample(features(image)[None], grid[None, None], align_corners=False, padding_mode="border")
        rows.append(read[0, :, 0].T)
        labels.append(truth.flatten()[chosen])
    inputs, wanted = torch.cat(rows), torch.cat(labels)
    centre, scale = inputs.mean(0), inputs.std(0) + 1e-6
    head = _fit((inputs - centre) / scale, wanted, generator)
    confusion = np.zeros((len(SCENE_CLASSES),) * 2)
    for image, truth in val:
        normal = (features(image) - centre[:, None, None]) / scale[:, None, None]
        with torch.no_grad():
            logits = head(normal.permute(1, 2, 0)).permute(2, 0, 1)[None]
        predicted = F.interpolate(logits, size=tuple(truth.shape), mode="bilinear", align_corners=False)[0].argmax(0)
        np.add.at(confusion, (truth.numpy(), predicted.numpy()), 1)
    hits = confusion.diagonal()
    return hits / (confusion.sum(0) + confusion.sum(1) - hits)


def _fit(inputs: torch.Tensor, wanted: torch.Tensor, generator: torch.Generator) -> torch.nn.Linear:
    head = torch.nn.Linear(inputs.shape[1], len(SCENE_CLASSES))
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(inputs), (BATCH,), generator=generator)
        optimiser.zero_grad()
        F.cross_entropy(head(inputs[batch]), wanted[batch]).backward()
        optimiser.step()
        schedule.step()
    return head


def remembered(features: Features) -> Features:
    """The same features, computed once for each image."""
    known: dict[int, torch.Tensor] = {}
    return lambda image: known.setdefault(id(image), features(image)) if id(image) not in known else known[id(image)]


def row(name: str, runs: list[np.ndarray]) -> dict:
    """One line of the table: means over the runs."""
    miou, foreground = [float(run.mean()) for run in runs], [float(run[1:].mean()) for run in runs]
    print(f"{name:28s} mIoU {mean(miou):.3f} +- {stdev(miou):.3f}   foreground {mean(foreground):.3f}", flush=True)
    per_class = dict(zip(map(str, SCENE_CLASSES), np.mean(runs, axis=0).round(4).tolist(), strict=True))
    return {
        "features": name,
        "miou": round(mean(miou), 4),
        "spread": round(stdev(miou), 4),
        "foreground_miou": round(mean(foreground), 4),
        "runs": len(runs),
        "per_class": per_class,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=DEMO_WEIGHTS, help="another file of demo-ssvt weights to try")
    weights = parser.parse_args().weights
    train, val = load("train"), load("val")
    trained = build_demo_ssvt(pretrained=False).eval()
    trained.load_state_dict(_state(weights))
    rows = [
        row("colour of the pixel", [probe(colours, train, val, seed) for seed in SEEDS]),
        row("colours of 5 x 5 pixels", [probe(colour_patches, train, val, seed) for seed in SEEDS]),
    ]
    nets = [build_demo_ssvt(pretrained=False, seed=seed).eval() for seed in SEEDS]
    rows.append(row("demo-ssvt, untrained", [probe(remembered(tokens_of(n)), train, val, 0) for n in nets]))
    features = remembered(tokens_of(trained))
    rows.append(row("demo-ssvt, trained", [probe(features, train, val, seed) for seed in SEEDS]))
    print(f"gain {rows[-1]['miou'] - rows[-2]['miou']:.3f}, {rows[-1]['miou'] / rows[-2]['miou']:.2f} times untrained")
    if weights == DEMO_WEIGHTS:
        write_result("demo_ssvt", rows, seeds=list(SEEDS), split_sizes=SPLITS, weights=demo_ssvt_metadata(weights))


def _state(path: Path) -> dict[str, torch.Tensor]:
    import safetensors.torch

    return {name: tensor.float() for name, tensor in safetensors.torch.load_file(path).items()}


if __name__ == "__main__":
    main()
