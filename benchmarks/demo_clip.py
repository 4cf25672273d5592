"""What demo-clip sees: zero-shot labels of the demo scenes by every dense method, and names of whole scenes.

Data: val scenes of three seeds, 80 each, which the model has never seen; truth is only for counting. Labels come from
`labelgen clip` with its default settings and the vocabulary `voc`: twenty classes, of which the scenes show ten, and 26
words for the background. mIoU from one
confusion matrix over the classes in truth or labels; `drawn` is the mean over the ten classes that are drawn, without
background. The same with random weights, other ones for each seed of scenes.
Whole scenes: how often the best of the twenty names is in the picture, and the mean average precision of the ten names.
Close-ups: the middle squares of the scenes in 2 x 2, 3 x 3 and 4 x 4 tiles, each magnified to the size of a scene, as
ZeroSeg's teacher sees them; how often a tile gets the name of the object that covers at least 30 % of it, and how often
one with at most 2 % of objects gets a word for the background.

The training read the values of the last block and their self-attention, so that the modified methods were bound to
gain over `clip`, and it had captions of close-ups for a quarter of its steps; the order of methods on CLIP models at
large is another.
Expected on two cores: four minutes; naclip about 0.47, clip 0.24, every other method at least 0.1 above clip.

    python benchmarks/demo_clip.py [--weights FILE] [--scenes 80]
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from record import write_result

from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.demo.captions import NAMES
from labelgen.demo.scenes import Scene, draw_scene
from labelgen.masks import harden
from labelgen.methods.clip import CLIP, ClipConfig
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import load_clip
from labelgen.nets.clip.prototypes import text_prototypes
from labelgen.nets.clip.templates import load_templates
from labelgen.nets.demo_clip import DEMO_CLIP_WEIGHTS, build_demo_clip, demo_clip_metadata, save_demo_clip
from labelgen.nets.dense_clip.names import METHODS
from labelgen.nets.zeroseg.tiles import tile_boxes, tiles_of
from labelgen.prompts import prompt_table
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion
from labelgen.vocab import load_vocabulary

SEEDS = (0, 1, 2)
GRIDS = (2, 3, 4)
VOC = load_vocabulary("voc")
DRAWN = list(NAMES)


def dense_scores(method: str, weights: Path, scenes: list[Scene], seed: int) -> tuple[float, float]:
    """MIoU, and mean IoU of the drawn classes, of the labels that the method gives."""
    config = ClipConfig(method=method, model="demo-clip", weights=str(weights))
    settled = CLIP.settle(config, VOC, open_data("demo", split="val")).config
    generate = CLIP.make(settled, VOC)
    rng = np.random.default_rng(seed)
    matrix = np.zeros((len(VOC.classes), len(VOC.classes) + 1), dtype=np.int64)
    for index, scene in enumerate(scenes):
        sample = Sample(f"val_{index:04d}", scene.labels.shape, image=scene.image)
        labels = harden(generate(sample, rng))
        matrix += confusion_matrix(scene.labels, labels, num_classes=len(VOC.classes))
    scores = scores_from_confusion(matrix)
    return scores.miou, float(np.nanmean(scores.iou[DRAWN]))


def whole_scores(weights: Path, scenes: list[Scene]) -> tuple[float, float]:
    """How often the best of the twenty names is in the picture; mean average precision over the drawn classes."""
    clip = load_clip(ClipModelConfig("demo-clip", weights=str(weights)))
    table = prompt_table(VOC, background="none")
    texts = torch.from_numpy(text_prototypes(clip, table.prompts, load_templates("imagenet80")))
    pixels = torch.cat([clip.normalise(clip.native_view(scene.image)[None]) for scene in scenes])
    likeness = (clip.encode_images(pixels).cpu() @ texts.T).numpy()
    best = np.stack([likeness[:, list(table.prompts_of(c))].max(1) for c in range(1, len(VOC.classes))], axis=1)
    shown = np.stack([np.isin(np.arange(1, len(VOC.classes)), scene.labels) for scene in scenes])
    right = float(shown[np.arange(len(scenes)), best.argmax(1)].mean())
    present = [c - 1 for c in DRAWN if shown[:, c - 1].any()]
    return right, float(np.mean([_average_precision(best[:, column], shown[:, column]) for column in present]))


def close_up_scores(weights: Path, scenes: list[Scene]) -> dict[str, float]:
    """Share of the tiles that are named rightly, for tiles of objects and of background by grid."""
    clip = load_clip(ClipModelConfig("demo-clip", weights=str(weights)))
    table = prompt_table(VOC, background="words")
    texts = torch.from_numpy(text_prototypes(clip, table.prompts, load_templates("imagenet80")))
    hits: dict[str, list[bool]] = {}
    for scene in scenes:
        square, labels = (_middle(pixels) for pixels in (scene.image, scene.labels))
        for grid in GRIDS:
            tiles = tiles_of(square, (grid,), size=clip.native_size)
            best = (clip.encode_images(clip.normalise(tiles)).cpu() @ texts.T).argmax(1).tolist()
            boxes = tile_boxes((labels.shape[0], labels.shape[1]), (grid,))
            for prompt, (top, left, bottom, right) in zip(best, boxes, strict=True):
                shares = np.bincount(labels[top:bottom, left:right].ravel(), minlength=len(VOC.classes))
                shares = shares / shares.sum()
                if shares[1:].max() >= 0.3:
                    hits.setdefault(f"object_{grid}", []).append(table.class_of[prompt] == 1 + int(shares[1:].argmax()))
                elif shares[0] >= 0.98:
                    hits.setdefault(f"background_{grid}", []).append(table.class_of[prompt] == 0)
    return {name: float(np.mean(values)) for name, values in sorted(hits.items())}


def _middle(pixels: np.ndarray) -> np.ndarray:
    """The middle square."""
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def _average_precision(scores: np.ndarray, wanted: np.ndarray) -> float:
    hits = wanted[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def spread(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": round(mean(values), 4), "std": round(stdev(values), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=DEMO_CLIP_WEIGHTS, help="another file of weights to try")
    parser.add_argument("--scenes", type=int, default=80, help="of each seed")
    words = parser.parse_args()
    scenes = {seed: [draw_scene("val", index, seed=seed) for index in range(words.scenes)] for seed in SEEDS}
    with tempfile.TemporaryDirectory() as folder:
        untrained = {seed: Path(folder) / f"random{seed}.safetensors" for seed in SEEDS}
        for seed, path in untrained.items():
            model = build_demo_clip(pretrained=False, seed=seed)
            save_demo_clip(model, path, row_ids=torch.tensor([0]), about={})
        rows, plain = [], 0.0
        for method in METHODS:
            trained = [dense_scores(method, words.weights, scenes[seed], seed) for seed in SEEDS]
            random = [dense_scores(method, untrained[seed], scenes[seed], seed) for seed in SEEDS]
            miou = spread([score for score, _ in trained])
            plain = miou["mean"] if method == "clip" else plain
            rows.append(
                {
                    "method": method,
                    "miou": miou,
                    "gain": round(miou["mean"] - plain, 4),
                    "drawn": spread([score for _, score in trained]),
                    "untrained_miou": spread([score for score, _ in random]),
                }
            )
            print(rows[-1], flush=True)
        named = [whole_scores(words.weights, scenes[seed]) for seed in SEEDS]
        closer = [close_up_scores(words.weights, scenes[seed]) for seed in SEEDS]
        blind = [whole_scores(untrained[seed], scenes[seed]) for seed in SEEDS]
    whole = {
        "best_name_in_picture": spread([right for right, _ in named]),
        "mean_average_precision": spread([precision for _, precision in named]),
        "untrained_best_name_in_picture": spread([right for right, _ in blind]),
        "untrained_mean_average_precision": spread([precision for _, precision in blind]),
    }
    magnified = {name: spread([scores[name] for scores in closer]) for name in closer[0]}
    print(whole, magnified)
    if words.weights == DEMO_CLIP_WEIGHTS and words.scenes == 80:
        about = {name: value for name, value in demo_clip_metadata().items() if name in ("recipe", "sha256", "seconds")}
        print(
            write_result(
                "demo_clip", rows, seeds=list(SEEDS), packages=("open_clip_torch",), whole_scenes=whole,
                close_ups=magnified, weights=about, weights_bytes=DEMO_CLIP_WEIGHTS.stat().st_size,
                scenes_per_seed=words.scenes,
            )
        )  # fmt: skip


if __name__ == "__main__":
    main()
