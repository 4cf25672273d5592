"""How does the cost of a run grow with the number of images?

Drawn masks of 48 x 64 pixels (1,000 a folder) go through the cheapest method, `labelgen box`, so that what is measured
is the runner: decoding, encoding, writing, manifest. For each number of images one run by each engine: local with one
and two workers, Ray with two on a cluster that the command starts. Each run is a process of its own, which says its
wall-clock time and the peak of its resident memory (workers are other processes); then the same command again, which
finds that nothing is to do. Files are counted and weighed, bytes as they are and blocks on the disk; the bytes of all
runs of one size are compared.

    python benchmarks/scale.py                # 100, 1,000 and 10,000 images; two minutes on two cores
    python benchmarks/scale.py --images 100   # a try
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from compared import digest_of
from record import write_result

from labelgen.masks import write_mask
from labelgen.vocab import load_vocabulary

SEED = 0
SIZE = (48, 64)
PER_FOLDER = 1000
VOC_CLASSES = 21
ENGINES = {
    "local, 1 worker": ["--workers", "1"],
    "local, 2 workers": ["--workers", "2"],
    "ray, 2 workers": ["--workers", "2", "--engine", "ray", "--ray-address", "local"],
}
CHILD = """
import json, resource, sys, time
start = time.perf_counter()
from labelgen.cli import main
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"code": code, "seconds": time.perf_counter() - start, "peak": peak}), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000])
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for images in arguments.images:
            data = Path(name, f"data-{images}")
            draw(data, images)
            digests = set()
            for engine, flags in ENGINES.items():
                out = Path(name, f"run-{images}-{engine.replace(', ', '-').replace(' ', '-')}")
                rows.append({"images": images, "engine": engine, **measured(data, out, flags), **weighed(out)})
                digests.add(digest_of(out))
                row = rows[-1]
                print(f"{images:>6} {engine:<17} {row['seconds']:7.1f} s {row['peak_mb']:6.0f} MB", flush=True)
            if len(digests) != 1:
                sys.exit(f"error: engines made different bytes of {images} images")
    write_result("scale", rows, seeds=[SEED], packages=("ray",), size=list(SIZE))


def draw(folder: Path, images: int) -> None:
    """Masks with one to four rectangles each."""
    rng = np.random.default_rng(SEED)
    palette = load_vocabulary("voc").colours
    for number in range(images):
        mask = np.zeros(SIZE, np.uint8)
        for _ in range(rng.integers(1, 5)):
            top, left = rng.integers(0, SIZE[0] - 8), rng.integers(0, SIZE[1] - 8)
            height, width = rng.integers(8, 24, 2)
            mask[top : top + height, left : left + width] = rng.integers(1, VOC_CLASSES)
        write_mask(folder / "masks" / f"{number // PER_FOLDER:05}" / f"{number:08}.png", mask, palette=palette)


def measured(data: Path, out: Path, flags: list[str]) -> dict[str, float]:
    """Make the run, then ask for it again."""
    command = ["box", f"folder:{data}", "--vocab", "voc", "--no-sheet", "--json", "--out", str(out), *flags]
    first, again = child(command), child(command)
    return {"seconds": first["seconds"], "peak_mb": first["peak"] / 1024, "again_seconds": again["seconds"]}


def child(command: list[str]) -> dict[str, float]:
    """Run one command in a process of its own; `ru_maxrss` is in KiB on Linux."""
    run = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=False)
    found = json.loads(run.stderr.splitlines()[-1])
    if run.returncode or found["code"]:
        sys.exit(f"error: {' '.join(command)}\n{run.stderr}")
    return found


def weighed(out: Path) -> dict[str, float]:
    """What a run takes, per image: bytes of a mask, blocks on the disk, bytes of a line, files and folders in all."""
    masks = sorted((out / "labels").rglob("*.png"))
    status = [path.stat() for path in masks]
    return {
        "mask_bytes": sum(s.st_size for s in status) / len(masks),
        "mask_disk_bytes": sum(getattr(s, "st_blocks", 0) * 512 for s in status) / len(masks),
        "line_bytes": (out / "manifest.jsonl").stat().st_size / len(masks),
        "inodes": sum(1 + len(files) for _, _, files in os.walk(out)),
    }


if __name__ == "__main__":
    main()
