"""Resident memory of each stage over ten thousand small images: the slope after warm-up, in bytes an image.

    python benchmarks/memory.py --images 10000

Writes benchmarks/results/memory.json. The commands run as typed, each in a process of its own, on images of 24 x 32
pixels on disk; memory of the process and its children is read from /proc whenever progress is reported.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import RESULTS, write_result

SIZE = (24, 32)
CLASSES = 5
WARM = 0.25  # share of the images after which caches of the interpreter and the allocator are full
SAMPLES = 400
STAGES = {  # name: (program and words, images that one unit of progress stands for)
    "generate": ("labelgen corrupt DATA --level 0.2 --out runs/a --save-scores --no-sheet", 1),
    "generate, two workers": ("labelgen corrupt DATA --level 0.2 --out runs/w --workers 2 --no-sheet", 1),
    "refine": ("labelgen refine runs/a --with pamr,steps=2 --out runs/b --no-sheet", 1),
    "quality": ("labelgen quality runs/b", 1),
    "cache": ("segprobe cache DATA --no-flip --backbone demo-ssvt", 1),
    "fit": ("segprobe fit runs/a --no-flip --backbone demo-ssvt --out probes/p --epochs 1 --batch-size 8", 8),
}


NEEDS = {"refine": ("generate",), "quality": ("generate", "refine"), "fit": ("generate",)}  # what they read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--only", default=";".join(STAGES), help="stages between semicolons; rows of others are kept")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.exit(watched(options.child))
    wanted = options.only.split(";")
    with tempfile.TemporaryDirectory() as work:
        draw(Path(work) / "data", options.images)
        needed = {name for one in wanted for name in (one, *NEEDS.get(one, ()))}
        made = {name: row_of(name, Path(work), options.images) for name in STAGES if name in needed}
    path = RESULTS / "memory.json"
    rows = {row["stage"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]} if path.is_file() else {}
    rows |= {name: made[name] for name in wanted}
    write_result("memory", [rows[name] for name in STAGES if name in rows], seeds=[0], size=list(SIZE), warm=WARM)


def draw(folder: Path, count: int) -> None:
    """Two regions and some noise in each image."""
    from PIL import Image

    from labelgen.masks import write_mask

    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    names = [f"class {number}" for number in range(CLASSES)]
    (folder / "vocabulary.toml").write_text(
        f'name = "small"\nclasses = {json.dumps(names)}\nbackground = 0\n', encoding="utf-8"
    )
    for number in range(count):
        rng = np.random.default_rng([0, number])
        labels = np.zeros(SIZE, np.uint8)
        labels[:, int(rng.integers(8, 24)) :] = rng.integers(1, CLASSES)
        image = np.clip(labels[..., None] * 40 + rng.integers(0, 60, (*SIZE, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{number:05}.png", compress_level=1)
        write_mask(folder / "masks" / f"{number:05}.png", labels)


def row_of(name: str, work: Path, images: int) -> dict:
    """Run one stage; the row of the table."""
    words, unit = STAGES[name]
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--child", words]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    samples = np.array(json.loads((work / "samples.json").read_text()), float)  # (seen, bytes)
    seen, memory = samples[:, 0] * unit, samples[:, 1]
    late = seen >= WARM * seen.max()
    slope = float(np.polyfit(seen[late], memory[late], 1)[0])
    row = {
        "stage": name,
        "command": words,
        "images": images,
        "bytes_per_image": round(slope, 1),
        "megabytes_at_warm": round(float(memory[late][0]) / 2**20, 1),
        "megabytes_at_end": round(float(memory[-1]) / 2**20, 1),
        "samples": int(late.sum()),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print(row, flush=True)
    return row


def watched(words: str) -> int:
    """Run a command in this process and note memory at each report of the last thing that it counts."""
    import importlib

    from labelgen.commands import progress

    program, *argv = words.split()
    if "DATA" in argv:
        argv[argv.index("DATA") : argv.index("DATA") + 1] = ["folder:data", "--vocab", "data/vocabulary.toml"]
    samples: list[tuple[int, int]] = []

    class Sampler:
        def __init__(self, label: str) -> None:
            self.last = 0

        def __call__(self, done: int, total: int, note: str = "") -> None:
            if done < self.last:  # another thing is counted: training, after features
                samples.clear()
            if done * SAMPLES // total != self.last * SAMPLES // total:
                samples.append((done, resident(os.getpid())))
            self.last = done

    progress._PlainLines = Sampler
    code = importlib.import_module(f"{program}.cli").main(argv)
    Path("samples.json").write_text(json.dumps(samples))
    return code


def resident(pid: int) -> int:
    """Bytes of a process and all below it that are in memory, file pages left out: those belong to the system."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    anonymous = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return 1024 * anonymous + sum(resident(int(child)) for child in children)


if __name__ == "__main__":
    main()
