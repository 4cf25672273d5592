"""How fast are features computed ahead of time, next to a plain loop over a torch DataLoader?

Photographs of PASCAL VOC and ViT-S/14 with random weights (what a network costs does not depend on what it has learned)
at 448, on all cores, the same images in both ways, one after the other within each round, in several rounds:

- labelgen: what `segprobe cache` does: decode and resize beside the network, pictures of one size in batches of 8, the
  arithmetic of `--dtype auto` (bfloat16 where the processor computes in it), tokens to disk with their sums and hashes;
- plain: a timm model in float32 in a loop over a DataLoader, tokens kept in memory.

Once with the short side at 448 and the shape of the picture kept, where the plain loop must take pictures of several
sizes one by one; once with pictures made square, which it batches by 8 as ours does. The features are compared: mean
and least cosine of a token. By the clock. Goal: 1.5 times. About four minutes on two idle cores:

    python benchmarks/features_speed.py --data DIR/voc2012-animals
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see segprobe.cli

import numpy as np
import timm
import torch
from record import write_result
from times import Times, compare, load, timed
from torch.utils.data import DataLoader

from labelgen.data.dataset import Dataset
from labelgen.data.open import open_data
from labelgen.masks import read_image
from labelgen.nets.backbones import Backbone, BackboneConfig, load_backbone
from segprobe.features import build_cache

MODEL = "vit_small_patch14_dinov2.lvd142m"
SEED = 0
BATCH = 8
ROUNDS = 5
POLICIES = {"keep": 1, "square": BATCH}  # and the batch of the plain loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with JPEGImages and ImageSets")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    data = open_data(f"voc:{options.data}", split=options.split, limit=options.images)
    rows, comparisons = [], []
    for policy, batch in POLICIES.items():
        backbone = load_backbone(BackboneConfig(MODEL, size=options.size, policy=policy), pretrained=False, seed=SEED)
        network = plain_network(backbone, options.size)
        times, likeness = measured(data, backbone, network, batch, options.rounds)
        comparison = compare(
            f"features-{policy}", times["labelgen"], times["plain"], by="clock", unit="s/image", images=len(data.ids)
        )
        facts = {"dtype": str(backbone.dtype).removeprefix("torch."), "plain_batch": batch, **likeness}
        rows.append({"policy": policy, "size": options.size, **facts, **comparison})
        comparisons.append(comparison)
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write_result(
        "features_speed",
        rows,
        seeds=[SEED],
        model=MODEL,
        images=len(data.ids),
        rounds=options.rounds,
        threads=torch.get_num_threads(),
        load=load(),
        comparisons=comparisons,
    )


def plain_network(backbone: Backbone, size: int) -> torch.nn.Module:
    """The model as timm makes it, in float32, with the weights of ours."""
    exact = load_backbone(BackboneConfig(MODEL, size=size, dtype="float32"), pretrained=False, seed=SEED)
    assert exact.spec.weights_sha256 == backbone.spec.weights_sha256, "both sides must have the same weights"
    network = timm.create_model(MODEL, num_classes=0, dynamic_img_size=True)
    network.load_state_dict(exact.model.state_dict())
    return network.eval()


class Pictures(torch.utils.data.Dataset):
    """Images as a DataLoader wants them: read, resized, normalised."""

    def __init__(self, paths: list[Path], prepare: Callable[[np.ndarray], torch.Tensor]) -> None:
        self.paths, self.prepare = paths, prepare

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.prepare(read_image(self.paths[index]))


def measured(
    data: Dataset, backbone: Backbone, network: torch.nn.Module, batch: int, rounds: int
) -> tuple[Times, dict[str, float]]:
    """Seconds of all images in each round, and how alike the features are."""
    paths = [Path(data.spec.root) / "JPEGImages" / f"{sample_id}.jpg" for sample_id in data.ids]
    loader = DataLoader(Pictures(paths, lambda image: backbone.prepare(image)[0]), batch_size=batch)
    first = backbone.prepare(data.image(data.ids[0]))[0][None]
    backbone.tokens(first), plain_tokens(network, [first])  # what is allocated once is not of interest
    times: Times = {"labelgen": [], "plain": []}
    likeness = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache, taken = timed(lambda folder=folder: build_cache(data, data.ids, backbone, Path(folder) / "cache"))
            times["labelgen"].append(taken)
            found, taken = timed(lambda: plain_tokens(network, loader))
            times["plain"].append(taken)
            likeness = likeness or compared(found, [cache.features(i).tokens.numpy() for i in data.ids])
    return times, likeness


def plain_tokens(network: torch.nn.Module, batches: list | DataLoader) -> list[np.ndarray]:
    """Patch tokens of each picture."""
    found = []
    with torch.inference_mode():
        for pictures in batches:
            tokens = network.forward_features(pictures)[:, network.num_prefix_tokens :]
            found += [one.numpy() for one in tokens]
    return found


def compared(plain: list[np.ndarray], ours: list[np.ndarray]) -> dict[str, float]:
    cosines = []
    for pair in zip(plain, ours, strict=True):
        a, b = (np.asarray(tokens, np.float64).reshape(-1, tokens.shape[-1]) for tokens in pair)
        cosines.append((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    cosine = np.concatenate(cosines)
    assert cosine.mean() > 0.99, f"both ways must give the same features, their mean cosine is {cosine.mean():.4f}"
    return {"mean_cosine": round(float(cosine.mean()), 6), "least_cosine": round(float(cosine.min()), 6)}


if __name__ == "__main__":
    main()
