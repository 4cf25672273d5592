"""How fast are zero-shot labels of a CLIP model, and how much memory do they take?

ViT-B-16 with random weights on random pictures of 500 x 375 pixels, resized to a short side of 336 and cut into 6
windows of 224 pixels, 112 apart; the prompts of `voc-ovss` with its background words, as random unit vectors. Measured
side by side in this one process, on one thread, in alternation, image by image, and the median counts; factors are of
processor time, because other programs may be running:

- labelgen: the labeller from an image in memory to its mask (`naclip`), in the arithmetic that `--dtype auto` takes;
- the same in float32;
- the network alone: `encode_image` over the same windows, normalised beforehand, in the same arithmetic and batches;
- window by window: what common scripts do, in float32: one window at a time through the same network and method, its
  similarities up-sampled and summed at full size for all prompts, then averaged, resized, and made probabilities.

Labels in float32 are asserted to agree with those of the window-by-window loop on 99.9 % of the pixels. Peak memory is
that of a fresh process that labels, less that of the same process before its first image: for 8 and for 24 images, and
for 171 classes (`coco-stuff-ovss`).

Goals: 0.9 of the throughput of the network alone, 2 times that of the loop, memory flat in the number of images. Around
four minutes on two idle cores:

    python benchmarks/clip_speed.py
"""

import argparse
import ctypes
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from record import write_result
from times import alternate, compare, load
from torch.nn import functional as F

from labelgen.masks import SoftMask, harden
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import ClipModel, load_clip
from labelgen.nets.dense_clip import patch_embeddings
from labelgen.nets.geometry import fitted_size, resize_image
from labelgen.nets.zeroshot.decide import Rules
from labelgen.nets.zeroshot.labeller import Labeller
from labelgen.nets.zeroshot.looks import Networks, look_for
from labelgen.nets.zeroshot.readout import Readout
from labelgen.nets.zeroshot.views import LONGEST_SIDE, Windows
from labelgen.nets.zeroshot.windows import window_boxes
from labelgen.prompts import PromptTable, prompt_table
from labelgen.vocab import load_vocabulary

MODEL = "ViT-B-16"
SEED = 0
SIZE = (375, 500)
WINDOWS = Windows(short_side=336, crop=224, stride=112, batch=8)
SCALE = 40.0
MEMORY_CASES = (("voc-ovss", 8), ("voc-ovss", 24), ("coco-stuff-ovss", 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", nargs=2, metavar=("VOCABULARY", "IMAGES"), help="only print the peak memory")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(memory_taken(options.memory_of[0], int(options.memory_of[1])))
        return
    rows, comparisons = speed_rows(options.images, options.repeats)
    for vocabulary, images in MEMORY_CASES:
        command = [sys.executable, __file__, "--memory-of", vocabulary, str(images)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"way": "peak memory", "prompts": vocabulary, "images": images, "megabytes": float(done.stdout)})
    for row in rows:
        shown = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if not isinstance(value, str))
        print(f"{row['way']:22} {row['prompts']:16} {shown}")
    write_result(
        "clip_speed",
        rows,
        seeds=[SEED],
        packages=("open_clip_torch",),
        model=MODEL,
        image_size=SIZE,
        windows=len(window_boxes(resized_size(), crop=WINDOWS.crop, stride=WINDOWS.stride)),
        repeats=options.repeats,
        load=load(),
        comparisons=comparisons,
    )


def speed_rows(count: int, repeats: int) -> tuple[list[dict], list[dict]]:
    fast = load_clip(ClipModelConfig(MODEL, device="cpu"), pretrained=False, seed=SEED)
    exact = load_clip(ClipModelConfig(MODEL, device="cpu", dtype="float32"), pretrained=False, seed=SEED)
    table, prototypes = prompts("voc-ovss", fast.embed_dim)
    images = [picture(number) for number in range(count)]
    crops = [fast.normalise(windows_of(image)) for image in images]
    labellers = {clip: labeller(clip, table, prototypes) for clip in (fast, exact)}
    ways = {
        "labelgen": lambda n: labels_of(labellers[fast], images[n]),
        "labelgen, float32": lambda n: labels_of(labellers[exact], images[n]),
        "network alone": lambda n: network_alone(fast, crops[n]),
        "window by window": lambda n: window_by_window(exact, images[n], table, prototypes),
    }
    agreement = [float((ways["labelgen, float32"](n) == ways["window by window"](n)).mean()) for n in range(count)]
    assert min(agreement) > 0.999, f"the loop must do the same work, its labels agree on {min(agreement):.4f}"
    times = alternate(ways, range(count), rounds=repeats)
    seconds = {way: [taken.processor for taken in values] for way, values in times.items()}
    comparisons = [
        compare("clip-loop", times["labelgen"], times["window by window"]),
        compare("clip-forward", times["labelgen"], times["network alone"]),
    ]
    ours = statistics.median(seconds["labelgen"])
    dtypes = {"labelgen": fast.dtype, "network alone": fast.dtype}
    rows = [
        {
            "way": way,
            "prompts": "voc-ovss",
            "dtype": str(dtypes.get(way, torch.float32)).removeprefix("torch."),
            "seconds_per_image": statistics.median(values),
            "time_over_labelgen": statistics.median(values) / ours,
        }
        for way, values in seconds.items()
    ]
    return rows, comparisons


def prompts(vocabulary: str, dim: int) -> tuple[PromptTable, torch.Tensor]:
    """Real prompts with random unit vectors: what a network costs does not depend on what it has learned."""
    loaded = load_vocabulary(vocabulary)
    table = prompt_table(loaded, background="none" if loaded.background is None else "words")
    vectors = torch.randn(len(table.prompts), dim, generator=torch.Generator().manual_seed(SEED))
    return table, F.normalize(vectors, dim=1)


def picture(number: int) -> np.ndarray:
    """Smooth noise with the amount of detail of a photograph."""
    noise = np.random.default_rng((SEED, number)).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return resize_image(noise, SIZE)


def resized_size() -> tuple[int, int]:
    return fitted_size(SIZE, policy="keep", side=WINDOWS.short_side, max_side=LONGEST_SIDE)


def windows_of(image: np.ndarray) -> np.ndarray:
    pixels = resize_image(image, resized_size())
    boxes = window_boxes(resized_size(), crop=WINDOWS.crop, stride=WINDOWS.stride)
    return np.stack([pixels[top:bottom, left:right] for top, left, bottom, right in boxes])


def labeller(clip: ClipModel, table: PromptTable, prototypes: torch.Tensor) -> Labeller:
    return Labeller(look_for("naclip", Networks(clip), WINDOWS), prototypes, table, Readout(SCALE), Rules())


def labels_of(label: Labeller, image: np.ndarray) -> np.ndarray:
    mask: SoftMask = label(image, np.random.default_rng(SEED))
    return harden(mask)


def network_alone(clip: ClipModel, crops: torch.Tensor) -> None:
    with torch.inference_mode():
        for part in crops.split(WINDOWS.batch):
            clip.model.encode_image(part)


def window_by_window(clip: ClipModel, image: np.ndarray, table: PromptTable, prototypes: torch.Tensor) -> np.ndarray:
    """The sliding window of common scripts: everything for every prompt at full size."""
    pixels = torch.from_numpy(resize_image(image, resized_size()).copy())
    total = torch.zeros(1, len(prototypes), *resized_size())
    times = torch.zeros(1, 1, *resized_size())
    with torch.inference_mode():
        for top, left, bottom, right in window_boxes(resized_size(), crop=WINDOWS.crop, stride=WINDOWS.stride):
            crop = clip.normalise(pixels[None, top:bottom, left:right])
            patches = F.normalize(patch_embeddings(clip.model, crop, method="naclip"), dim=-1)
            similarity = (patches @ prototypes.T).permute(0, 3, 1, 2)
            similarity = F.interpolate(similarity, size=(bottom - top, right - left), mode="bilinear")
            around = (left, total.shape[3] - right, top, total.shape[2] - bottom)
            total += F.pad(similarity, around)
            times[:, :, top:bottom, left:right] += 1
        similarity = F.interpolate(total / times, size=image.shape[:2], mode="bilinear")[0]
        logits = SCALE * similarity
        classes = torch.stack([logits[list(table.prompts_of(c))].amax(dim=0) for c in table.class_ids])
        return np.array(table.class_ids, np.uint8)[classes.softmax(dim=0).argmax(dim=0).numpy()]


def memory_taken(vocabulary: str, count: int) -> float:
    """Megabytes by which labelling raises the peak memory of this process over what the loaded model takes."""
    clip = load_clip(ClipModelConfig(MODEL, device="cpu"), pretrained=False, seed=SEED)
    table, prototypes = prompts(vocabulary, clip.embed_dim)
    label = labeller(clip, table, prototypes)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # gives back what building the model has left, or labelling would reuse it
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of building the model
    before = megabytes("VmRSS")
    for number in range(count):
        labels_of(label, picture(number))
    return megabytes("VmHWM") - before


def megabytes(kind: str) -> float:
    """A figure that Linux keeps about this process: VmRSS (resident now) or VmHWM (its peak)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{kind}:"))) / 1024


if __name__ == "__main__":
    main()
