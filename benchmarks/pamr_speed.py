"""How fast are PAMR and PAR, and how much memory do they take?

A photograph of PASCAL VOC of 375 x 500 pixels; scores of 3 and of 21 classes, random ones, since no step depends on
their values. Each way runs in a process of its own, on one thread, after a run on a tiny image that compiles and
allocates what is only needed once. Against a plain version in torch: the neighbours of all planes are stacked and
multiplied with the weights, 48 x C x H x W numbers at once. Seconds are of the processor, because other programs may
be running; memory is the peak of the process less what it held before. Results are compared in full, to 1e-4: the plain
version sums in float32 what ours sums in whole numbers. Goals: under a second, and under 150 MB besides the result.
Four minutes on one free core:

    python benchmarks/pamr_speed.py --data DIR/voc2012-animals
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from record import write_result

from labelgen.data.open import open_data
from labelgen.refine.pamr import DILATIONS, pamr
from labelgen.refine.par import near_weights, par

SEED = 0
REPEATS = {"ours": 3, "plain torch": 1}
STEPS = 10
SIZE = (375, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="VOC folder with JPEGImages and ImageSets")
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    data = open_data(f"voc:{arguments.data}", split=arguments.split)
    image = next(image for image in map(data.image, data.ids) if image.shape[:2] == SIZE)
    rows = []
    for kind in ("pamr", "par"):
        for classes in (3, 21):
            found = {way: in_own_process(way, kind, image, classes) for way in ("ours", "plain torch")}
            difference = float(np.abs(found["ours"][2] - found["plain torch"][2]).max())
            assert difference < 1e-4, difference
            for way, (seconds, megabytes, _) in found.items():
                rows.append(
                    {
                        "refiner": kind,
                        "way": way,
                        "classes": classes,
                        "seconds": round(seconds, 3),
                        "peak_mb": round(megabytes),
                        "times_faster": round(found["plain torch"][0] / seconds, 1),
                        "largest_difference": difference,
                    }
                )
                print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write_result("pamr_speed", rows, seeds=[SEED], repeats=REPEATS, steps=STEPS, load=os.getloadavg())


def in_own_process(way: str, kind: str, image: np.ndarray, classes: int) -> tuple[float, float, np.ndarray]:
    """Seconds of the processor, megabytes, and the result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (way, kind, image, classes))


def measure(way: str, kind: str, image: np.ndarray, classes: int) -> tuple[float, float, np.ndarray]:
    torch.set_num_threads(1)
    run = {"ours": {"pamr": pamr, "par": par}[kind], "plain torch": plain_pamr if kind == "pamr" else plain_par}[way]
    scores = np.random.default_rng(SEED).random((classes, *SIZE), np.float32)
    run(image[:60, :60], scores[:, :60, :60].copy(), steps=1)
    before, seconds, result = resident_megabytes(), [], scores
    for _ in range(REPEATS[way]):
        start = time.process_time()
        result = run(image, scores, steps=STEPS)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before - result.nbytes / 2**20
    return statistics.median(seconds), peak, result


def resident_megabytes() -> float:
    """What the process holds now; the system counts it in pages."""
    with Path("/proc/self/statm").open(encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def neighbours_of(planes: torch.Tensor) -> torch.Tensor:
    """`(P, H, W)` planes to `(P, 48, H, W)`: eight neighbours at each dilation, the edge repeated."""
    height, width = planes.shape[1:]
    found = []
    for dilation in DILATIONS:
        padded = torch.nn.functional.pad(planes[None], (dilation,) * 4, mode="replicate")[0]
        for place in (place for place in range(9) if place != 4):
            top, left = place // 3 * dilation, place % 3 * dilation
            found.append(padded[:, top : top + height, left : left + width])
    return torch.stack(found, dim=1)


def plain_pamr(image: np.ndarray, scores: np.ndarray, *, steps: int) -> np.ndarray:
    planes = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    near = neighbours_of(planes)
    samples = torch.cat([near, planes[:, None].expand(-1, len(DILATIONS), -1, -1)], dim=1)
    distance = (near - planes[:, None]).abs() / (1e-8 + 0.1 * samples.std(dim=1, keepdim=True))
    return stepped(scores, torch.softmax(-distance.mean(dim=0), dim=0), steps)


def plain_par(image: np.ndarray, scores: np.ndarray, *, steps: int) -> np.ndarray:
    planes = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    near = neighbours_of(planes)
    distance = ((near - planes[:, None]).abs() / (1e-8 + 0.3 * near.std(dim=1, keepdim=True))) ** 2
    by_place = torch.from_numpy(near_weights(DILATIONS)).float()[:, None, None]
    return stepped(scores, (torch.softmax(-distance.mean(dim=0), dim=0) + by_place) / 1.01, steps)


def stepped(scores: np.ndarray, weights: torch.Tensor, steps: int) -> np.ndarray:
    averaged = torch.from_numpy(scores)
    for _ in range(steps):
        averaged = (neighbours_of(averaged) * weights).sum(dim=1)
    return averaged.numpy()


if __name__ == "__main__":
    main()
