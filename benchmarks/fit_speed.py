"""How much faster is a fit on cached features with sampled pixels than the plain loop?

The plain loop runs the frozen backbone in float32 on every image in every epoch, up-samples the logits to the size of
the labels with torch and takes the cross-entropy over all of them. Ours runs the backbone once per image into a cache
on disk, in the arithmetic that `--dtype auto` takes, and reads the logits at 1,024 pixels per image. Both use the same
images in the same order, the same number of updates, the same optimiser and learning rates, full truth, no mirrored
views (each view would be one more pass of the backbone for the cache), and the same threads; they run one after the
other in this process, the plain loop in full, ours several times. The median of the quotients counts: each epoch of the
plain loop, times the number of epochs, over one of our fits.

Set-ups, 40 epochs, batches of 16, tokens of 14 and 8 pixels:

- photographs of PASCAL VOC and ViT-S/14 with random weights at a short side of 448, 16 images, which is one batch an
  epoch: what a real backbone costs on pictures of a real size. Only with --data. An image costs the plain loop roughly
  half a minute of two cores in 40 epochs, so that 16 of them take eight minutes.
- the same network at 224 on 64 built-in scenes. Its mIoU is poor, being random, and only compared.
- demo-ssvt on all training scenes: a network so small that the rest of the loop weighs more.

mIoU is over val images. Goal: 50 times at 40 epochs for the photographs, mIoU within 0.5 points. A quarter of an hour
on two idle cores, of which the photographs take ten minutes:

    python benchmarks/fit_speed.py --data DIR/voc2012-animals
"""

import argparse
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see segprobe.cli

import numpy as np
import torch
from record import write_result
from times import Seconds, compare, load, timed
from torch.nn import functional as F

from labelgen.data.open import open_data
from labelgen.nets.backbones import Backbone, BackboneConfig, load_backbone
from labelgen.nets.training import learning_rate
from segprobe.batches import BatchMaker
from segprobe.config import FitConfig
from segprobe.evaluate import cached_predictions, score_predictions
from segprobe.features import FeatureCache, View, build_cache
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
    photographs: bool = False


VIT = "vit_small_patch14_dinov2.lvd142m"
PHOTOGRAPHS = Setup("ViT-S/14 at 448, photographs", BackboneConfig(VIT, size=448), False, 16, 40, photographs=True)
SETUPS = (
    PHOTOGRAPHS,
    Setup("ViT-S/14, random", BackboneConfig(VIT, size=224), False, 64, 40),
    Setup("demo-ssvt", BackboneConfig(), True, 0, 0),
)
REPEATS = 3  # of ours
BATCH = 16  # images, also of FitConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="VOC folder with JPEGImages, SegmentationClass and ImageSets")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="first letters of one set-up")
    parser.add_argument(
        "--images", type=int, default=0, help="train and val images, for a try; 0 for those of the set-up"
    )
    options = parser.parse_args()
    config = FitConfig(epochs=options.epochs, flip=False, seed=options.seed)
    rows, comparisons = [], []
    for setup in SETUPS:
        if setup.name.startswith(options.only) and (options.data or not setup.photographs):
            few = replace(setup, train=options.images or setup.train, val=options.images or setup.val)
            found, comparison = measure(few, config, f"voc:{options.data}" if setup.photographs else "demo")
            rows += found
            comparisons += [comparison] if setup is PHOTOGRAPHS else []
    for row in rows:
        shown = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if not isinstance(value, str))
        print(f"{row['setup']:30} {row['way']:18} {shown}")
    path = write_result(
        "fit_speed",
        rows,
        seeds=[options.seed],
        epochs=options.epochs,
        threads=torch.get_num_threads(),
        load=load(),
        comparisons=comparisons,
    )
    print(path)


def measure(setup: Setup, config: FitConfig, data: str) -> tuple[list[dict], dict]:
    train = KeptDataset(open_data(data, split="train", limit=setup.train))
    val = KeptDataset(open_data(data, split="val", limit=setup.val))
    for dataset in (train, val):
        for sample_id in dataset.ids:
            dataset.image(sample_id)  # drawing a scene costs more than decoding a photograph; neither side pays for it
    labels = read_labels(TruthSource(train), train)
    backbone = load_backbone(setup.backbone, pretrained=setup.pretrained)
    exact = load_backbone(replace(setup.backbone, dtype="float32"), pretrained=setup.pretrained)
    for network in (backbone, exact):
        network.tokens(torch.stack([network.prepare(train.image(train.ids[0]))[0]]))
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # both sides find torch loaded and warm
    with tempfile.TemporaryDirectory() as folder:
        val_features = build_cache(val, val.ids, backbone, Path(folder) / "val")
        fits = [cached_fit(train, labels, backbone, config, Path(folder) / f"train-{n}") for n in range(REPEATS)]
        (head, cache, _), _ = fits[0]
        ours, cached = [taken for _, taken in fits], [seconds for (_, _, seconds), _ in fits]
        (plain_head, epochs), plain = timed(lambda: plain_fit(train, labels, exact, config, cache.mean, cache.std))
        scores = []
        for trained in (plain_head, head):
            probe = Probe(trained, "linear", labels.class_ids, val.vocabulary, setup.backbone, {}, {}, None, {})
            scores.append(score_predictions(cached_predictions(probe, val_features, val, val.ids), val.vocabulary).miou)
    whole = [Seconds(*(config.epochs * seconds for seconds in epoch)) for epoch in epochs]
    comparison = compare("fit", [ours[n % REPEATS] for n in range(len(whole))], whole, by="clock", unit="s")
    facts = {"setup": setup.name, "images": len(train.ids), "epochs": config.epochs}
    mine, cache_seconds = (sorted(values)[REPEATS // 2] for values in (ours, cached))
    rows = [
        {
            **facts,
            "way": "plain loop",
            "dtype": str(exact.dtype).removeprefix("torch."),
            "seconds": plain.clock,
            "cpu_seconds": plain.processor,
            "miou": scores[0],
        },
        {
            **facts,
            "way": "cached and sampled",
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "seconds": mine.clock,
            "cpu_seconds": mine.processor,
            "of_which_cache": cache_seconds.clock,
            "miou": scores[1],
            "times_faster": plain.clock / mine.clock,
            "times_less_cpu": plain.processor / mine.processor,
            "miou_difference": scores[1] - scores[0],
        },
    ]
    return rows, comparison | {"miou_difference": scores[1] - scores[0]}


def cached_fit(
    train: KeptDataset, labels: LabelSet, backbone: Backbone, config: FitConfig, folder: Path
) -> tuple[tuple[Head, FeatureCache, Seconds], Seconds]:
    """The head, the cache and what making it took; and what all took."""

    def run() -> tuple[Head, FeatureCache, Seconds]:
        cache, seconds = timed(
            lambda: build_cache(train, labels.ids, backbone, folder, views=(View(),), batch_size=BATCH)
        )
        return fit_head(labels, cache, config).head, cache, seconds

    return timed(run)


def plain_fit(
    dataset: KeptDataset, labels: LabelSet, backbone: Backbone, config: FitConfig, mean: np.ndarray, std: np.ndarray
) -> tuple[Head, list[Seconds]]:
    """The loop as one would write it: images, backbone, head, up-sampling, cross-entropy, step. Seconds by epoch."""
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

    def take(step: int) -> None:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, order.num_steps, peak=config.lr, warmup=config.warmup)
        samples = [dataset.load(sample_id, {"image", "truth"}) for sample_id, _ in order.chosen(step)]
        optimiser.zero_grad()
        total = sum(sample.size[0] * sample.size[1] for sample in samples)
        for size in sorted({sample.size for sample in samples}):  # pictures of two sizes cannot share a tensor
            part = [sample for sample in samples if sample.size == size]
            pictures = torch.stack([backbone.prepare(sample.need_image())[0] for sample in part])
            logits = head(backbone.tokens(pictures)).permute(0, 3, 1, 2)
            full = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            truth = column_of[torch.from_numpy(np.stack([sample.need_truth() for sample in part])).long()]
            (F.cross_entropy(full, truth, ignore_index=255, reduction="sum") / total).backward()
        optimiser.step()

    taken = [timed(lambda step=step: take(step))[1] for step in range(order.num_steps)]
    epochs = np.array(taken).reshape(config.epochs, -1, 2).sum(axis=1)
    return head.eval(), [Seconds(*map(float, epoch)) for epoch in epochs]


class _OneView:
    """Enough of a feature source for the order of the batches."""

    views = (View(),)


if __name__ == "__main__":
    main()
