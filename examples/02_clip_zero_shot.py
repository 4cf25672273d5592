"""Labels from class names alone: the same image-text model read in three ways, and one image by hand.

python examples/02_clip_zero_shot.py [FOLDER]

It runs on the demo model. For your own images: `labelgen clip FOLDER --classes "rust, paint" --model ViT-B-16`.
"""

import sys
import tempfile
from pathlib import Path

import torch

from labelgen.data.open import open_data
from labelgen.methods.clip import ClipConfig
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import load_clip
from labelgen.nets.clip.prototypes import text_prototypes
from labelgen.nets.clip.templates import load_templates
from labelgen.nets.dense_clip import patch_embeddings
from labelgen.quality.confusion import scores_from_confusion
from labelgen.quality.evaluate import evaluate
from labelgen.run import method_job, run_job
from labelgen.store import RunFolder


def main(folder: Path) -> None:
    scenes = open_data("demo", split="val", limit=12)
    for name in ("clip", "sclip", "naclip"):
        job = method_job("clip", ClipConfig(method=name), scenes.vocabulary, dataset=scenes)
        report = run_job(scenes, job, folder / name)
        matrix = evaluate(RunFolder(report.out), scenes).matrix
        print(f"{name:8} mIoU {scores_from_confusion(matrix).miou:.3f}")

    words = ["aeroplane", "cat", "sky", "grass"]  # the same in five lines of torch
    clip = load_clip(ClipModelConfig("demo-clip"))
    image = scenes.image(scenes.ids[0])
    patches = patch_embeddings(clip.model, clip.normalise(image[None]), method="naclip")
    prototypes = torch.from_numpy(text_prototypes(clip, words, load_templates("simple")))
    best = (torch.nn.functional.normalize(patches[0], dim=-1) @ prototypes.T).argmax(-1)
    print("patches by word:", {word: int((best == number).sum()) for number, word in enumerate(words)})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
