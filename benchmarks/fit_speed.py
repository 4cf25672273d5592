"""How much faster is a fit on cached features with sampled pixels than the plain loop?

The plain loop runs the frozen backbone on every image in every epoch, up-samples the logits to the size of the labels
with torch and takes the cross-entropy over all of them. Ours runs the backbone once per image into a cache on disk and
reads the logits at 1,024 pixels per image. Both use the same images in the same order, the same number of updates, the
same optimiser and learning rates, full truth, no mirrored views (each view would be one more pass of the backbone for
the cache), and the same threads; they run one after the other in this process, and both run in full.

Two set-ups on the built-in scenes, 40 epochs, batches of 16, tokens of 14 and 8 pixels:

- ViT-S/14 with random weights at a short side of 224, 64 scenes: what a real backbone costs. Its mIoU is poor, being
  random, and only compared.
- demo-ssvt on all training scenes: a network so small that the rest of the loop weighs more.

mIoU is over the val scenes. Goal: 30 times at 40 epochs for the real size, mIoU within 0.5 points. On two idle cores
about six minutes:

    python benchmarks/fit_speed.py
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see segprobe.cli

import numpy as np
import torch
from record import write_result
from torch.nn import functional as F

from labelgen.data.open import open_data
from labelgen.nets.backbones import Backbone, BackboneConfig, load_backbone
from labelgen.nets.training import learning_rate
from segprobe.batches import BatchMaker
from segprobe.config import FitConfig
from segprobe.evaluate import cached_predictions, score_predictions
from segprobe.features import View, build_cache
from segprobe.fit import fit_head
from segprobe.heads import Head, make_head
from segprobe.kept import KeptDataset
from segprobe.labels import LabelSet, TruthSource, read_labels
from segprobe.probe_file import Probe


@dataclass(frozen=True)
class Setup:
    name: str
    backbone: BackboneConfig
    pretrained: bool
    train: int
    val: int


SETUPS = (
    Setup("ViT-S/14, random", BackboneConfig("vit_small_patch14_dinov2.lvd142m", size=224), False, 64, 40),
    Setup("demo-ssvt", BackboneConfig(), True, 0, 0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="first letters of one set-up")
    options = parser.parse_args()
    config = FitConfig(epochs=options.epochs, flip=False, seed=options.seed)
    rows = []
    for setup in SETUPS:
        if setup.name.startswith(options.only):
            rows += measure(setup, config)
    for row in rows:
        shown = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if not isinstance(value, str))
        print(f"{row['setup']:18} {row['way']:18} {shown}")
    path = write_result(
        "fit_speed", rows, seeds=[options.seed], epochs=options.epochs, threads=torch.get_num_threads(), load=load()
    )
    print(path)


def measure(setup: Setup, config: FitConfig) -> list[dict]:
    train = KeptDataset(open_data("demo", split="train", limit=setup.train))
    val = KeptDataset(open_data("demo", split="val", limit=setup.val))
    for dataset in (train, val):
        for sample_id in dataset.ids:
            dataset.image(sample_id)  # drawing a scene costs more than decoding a photograph; neither side pays for it
    labels = read_labels(TruthSource(train), train)
    backbone = load_backbone(setup.backbone, pretrained=setup.pretrained)
    backbone.tokens(torch.stack([backbone.prepare(train.image(train.ids[0]))[0]]))
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # both sides find torch loaded and warm
    with tempfile.TemporaryDirectory() as folder:
        val_features = build_cache(val, val.ids, backbone, Path(folder) / "val")
        start, cpu = time.perf_counter(), time.process_time()
        cache = build_cache(train, labels.ids, backbone, Path(folder) / "train", views=(View(),), batch_size=16)
        cached = time.perf_counter() - start
        head = fit_head(labels, cache, config).head
        ours = time.perf_counter() - start, time.process_time() - cpu
        start, cpu = time.perf_counter(), time.process_time()
        plain_head, steps = plain_fit(train, labels, backbone, config, cache.mean, cache.std)
        plain = time.perf_counter() - start, time.process_time() - cpu
        scores = []
        for trained in (plain_head, head):
            probe = Probe(trained, "linear", labels.class_ids, val.vocabulary, setup.backbone, {}, {}, None, {})
            scores.append(score_predictions(cached_predictions(probe, val_features, val, val.ids), val.vocabulary).miou)
    facts = {"setup": setup.name, "images": len(train.ids), "steps": steps}
    return [
        {**facts, "way": "plain loop", "seconds": plain[0], "cpu_seconds": plain[1], "miou": scores[0]},
        {
            **facts,
            "way": "cached and sampled",
            "seconds": ours[0],
            "cpu_seconds": ours[1],
            "of_which_cache": cached,
            "miou": scores[1],
            "times_faster": plain[0] / ours[0],
            "times_less_cpu": plain[1] / ours[1],
            "miou_difference": scores[1] - scores[0],
        },
    ]


def plain_fit(
    dataset: KeptDataset, labels: LabelSet, backbone: Backbone, config: FitConfig, mean: np.ndarray, std: np.ndarray
) -> tuple[Head, int]:
    """The loop as one would write it: images, backbone, head, up-sampling, cross-entropy, step."""
    order = BatchMaker(_OneView(), labels, config)
    head = make_head("linear", torch.from_numpy(mean), torch.from_numpy(std), num_classes=len(labels.class_ids))
    optimiser = torch.optim.AdamW(
        [
            {"params": [head.classify.weight], "weight_decay": config.weight_decay},
            {"params": [head.classify.bias], "weight_decay": 0.0},
        ],
        lr=config.lr,
    )
    column_of = torch.full((256,), 255)
    column_of[list(labels.class_ids)] = torch.arange(len(labels.class_ids))
    for step in range(order.num_steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, order.num_steps, peak=config.lr, warmup=config.warmup)
        samples = [dataset.load(sample_id, {"image", "truth"}) for sample_id, _ in order.chosen(step)]
        optimiser.zero_grad()
        total = sum(sample.size[0] * sample.size[1] for sample in samples)
        for size in sorted({sample.size for sample in samples}):  # landscape and portrait scenes cannot share a tensor
            part = [sample for sample in samples if sample.size == size]
            pictures = torch.stack([backbone.prepare(sample.need_image())[0] for sample in part])
            logits = head(backbone.tokens(pictures)).permute(0, 3, 1, 2)
            full = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            truth = column_of[torch.from_numpy(np.stack([sample.need_truth() for sample in part])).long()]
            (F.cross_entropy(full, truth, ignore_index=255, reduction="sum") / total).backward()
        optimiser.step()
    return head.eval(), order.num_steps


class _OneView:
    """Enough of a feature source for the order of the batches."""

    views = (View(),)


def load() -> float:
    """Processes that wanted the machine when the benchmark ended: 1 or 2 on an idle one."""
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":
    main()
