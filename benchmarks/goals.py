"""What was promised of the speed of each work beside its peer, and why a promise is missed where it is."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import RESULTS

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Goal:
    """One row of the table of speed.

    Parameters
    ----------
    name
        Of the comparison in a result file.
    result
        The benchmark that measures it: `<result>.py` writes `results/<result>.json`.
    work, against
        What is done, and what else does it.
    least
        How many times as fast as the peer ours is to be.
    most
        Instead of `least`: how many times the peer's time ours may take.
    gpu
        The goal on a GPU, which no benchmark measures yet; empty for none.
    limit
        The comparison that says what can be had on the machine; empty for none.
    """

    name: str
    result: str
    work: str
    against: str
    least: float = 0.0
    most: float = 0.0
    gpu: str = ""
    limit: str = ""

    def goal(self) -> str:
        """As it is written in a table."""
        return f"<= {self.most:g}x the time" if self.most else f">= {self.least:g}x"

    def is_met(self, ratio: float) -> bool:
        """Whether a ratio, as a row states it, is good enough."""
        return ratio <= self.most if self.most else ratio >= self.least


QUALITY = "quality, 1,464 VOC masks from files"
FEATURES = "features, ViT-S/14 at 448"
PLAIN_LOOP = "timm in a plain DataLoader loop, float32"
CRF = "dense CRF, photographs, two threads"
GOALS = (
    Goal("quality-sklearn", "quality_speed", f"{QUALITY}, per core", "scikit-learn confusion_matrix", 5),
    Goal("quality-torchmetrics", "quality_speed", f"{QUALITY}, per core", "torchmetrics Jaccard index", 10),
    Goal("quality-evaluate", "quality_speed", f"{QUALITY}, per core", "Hugging Face evaluate's formula", 5),
    Goal("quality-decoding", "quality_speed", f"{QUALITY}, per core", "bare decoding of the PNGs", most=1.3),
    Goal("quality-threads", "quality_speed", f"{QUALITY}, two threads", "one thread", 1.8),
    Goal("scribble", "scribble_speed", "scribbles, 1,464 VOC masks, per core", "scikit-image + networkx", 10),
    Goal("crf-21", "crf_speed", f"{CRF}, 21 classes", "pydensecrf", 3),
    Goal("crf-3", "crf_speed", f"{CRF}, 3 classes", "pydensecrf", 2.5),
    Goal("crf-present", "crf_speed", f"{CRF}, the 3 present classes", "pydensecrf, 21 classes", 6),
    Goal("walk-4", "walk_speed", "random walk, 500 x 375, stride 4", "dense matrix powers", 500),
    Goal("walk-8", "walk_speed", "random walk, 500 x 375, stride 8", "dense matrix powers", 10),
    Goal("clip-loop", "clip_speed", "dense CLIP, ViT-B-16, per core", "window by window, float32", 2, gpu=">= 3x"),
    Goal("clip-forward", "clip_speed", "dense CLIP, ViT-B-16, per core", "the bare network, same type", 0.9),
    Goal("cam", "cam_speed", "class maps, 4 scales and mirror images, two classes", "pytorch-grad-cam", 6),
    Goal("fit", "fit_speed", "probe, 40 epochs, ViT-S/14 at 448", "plain loop, float32", 50, gpu="to be measured"),
    Goal("features-keep", "features_speed", FEATURES, f"{PLAIN_LOOP}, one by one", 1.5),
    Goal("features-square", "features_speed", f"{FEATURES}, square pictures", f"{PLAIN_LOOP}, batches of 8", 1.5),
    Goal("workers-generate", "workers_speed", "generate, two workers", "one worker", 1.8, limit="limit-generate"),
    Goal("workers-refine", "workers_speed", "refine, two workers", "one worker", 1.8, limit="limit-refine"),
    Goal("workers-quality", "workers_speed", "quality, two workers", "one worker", 1.8, limit="limit-quality"),
    Goal("ray-generate", "workers_speed", "generate, a running Ray cluster, two workers", "local, two workers", 0.8),
    Goal("ray-refine", "workers_speed", "refine, a running Ray cluster, two workers", "local, two workers", 0.8),
    Goal("ray-quality", "workers_speed", "quality, a running Ray cluster, two workers", "local, two workers", 0.8),
)

REASONS = {  # shown only where a row misses its goal
    "scribble": (
        "drawing takes three quarters of the time, reading and writing the rest. By a profile no part stands out any "
        "more: exact distances (which the plain version has not), thinning, smoothing, many small steps for each "
        "stroke. Compiling distances, smoothing and thinning and sparing the scores of hard labels, each with the same "
        "bytes, brought it from 4.8x; the next step would be one compiled function for a whole region"
    ),
    "cam": "the bare forwards allow 7x at two classes; the rest is resizing pictures and maps, at eight views an image",
    "fit": (
        "every image must pass the backbone once, and 40 passes in float32 over one in bfloat16 are the limit; with "
        "16 images the fixed cost of a fit weighs, too"
    ),
    "quality-decoding": (
        "counting pairs takes a sixth of the decoding on these labels, of which every fiftieth pixel is noise; the "
        "rest is the check of ids, reading within bounds and the bookkeeping of each image. Two passes for the "
        "check in place of five, two tables for the counts and fewer locks were tried and kept"
    ),
    "quality-threads": (
        "an image takes a millisecond, and the threads hand Python's lock over at each of a dozen calls to the system "
        "in it, which costs as much as the second thread gains. What takes longer an image gains: see the row of two "
        "workers, with contours"
    ),
    "features-keep": "bfloat16 is no faster than float32 on processors that do not compute in it",
    "features-square": "bfloat16 is no faster than float32 on processors that do not compute in it",
    "workers-generate": (
        "workers are forked from a server that imports once for all, but while it does nobody labels, and each loads "
        "its compiled kernels for itself: together a good second of a run of ten"
    ),
    "workers-refine": "imports of the server that workers are forked from, and kernels that each loads for itself",
    "workers-quality": "imports and the first call of each kernel are not shared out; threads wait for Python's lock",
}
UNKNOWN = "not looked into yet"


def rows_from(results: Path = RESULTS) -> Iterator[dict[str, Any]]:
    """One row for each goal, from the result files that are there."""
    loaded: dict[str, dict[str, Any]] = {}
    for goal in GOALS:
        path = results / f"{goal.result}.json"
        if goal.result not in loaded:
            loaded[goal.result] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        result = loaded[goal.result]
        found = {comparison["name"]: comparison for comparison in result.get("comparisons", [])}
        yield row_of(goal, found, result)


def row_of(goal: Goal, found: dict[str, dict[str, Any]], result: dict[str, Any]) -> dict[str, Any]:
    """The row of one goal from the comparisons of its benchmark; without its own it says that nothing was measured."""
    comparison = found.get(goal.name)
    row: dict[str, Any] = {"name": goal.name, "work": goal.work, "against": goal.against, "goal": goal.goal()}
    if goal.gpu:
        row["gpu"] = {"goal": goal.gpu, "measured": NOT_MEASURED}
    if comparison is None:
        return row | {"measured": False, "met": None}
    ratio, low, high = (comparison[key] for key in ("ratio", "ratio_low", "ratio_high"))
    if goal.most:  # said as a share of the peer's time
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    met = goal.is_met(ratio)
    row |= {
        "measured": True,
        **{key: comparison[key] for key in ("ours", "peer", "unit", "by")},
        "ratio": float(f"{ratio:.4g}"),
        "spread": [float(f"{low:.4g}"), float(f"{high:.4g}")],
        "of": comparison["ratio_of"],
        "met": met,
        "from": {key: result.get(key) for key in ("benchmark", "commit", "machine", "load")},
    }
    if "miou_difference" in comparison:
        row["miou_difference"] = comparison["miou_difference"]
    if met:
        return row
    why = REASONS.get(goal.name, UNKNOWN)
    if goal.limit in found:
        why += f"; two commands side by side, which share nothing, are {found[goal.limit]['ratio']:.2f}x as fast as one"
    return row | {"why_missed": why}


def line_of(row: dict[str, Any]) -> str:
    """A row on one line, for the terminal."""
    start = f"{row['work']} / {row['against']}: goal {row['goal']}"
    gpu = f" (GPU: goal {row['gpu']['goal']}, {row['gpu']['measured']})" if "gpu" in row else ""
    if not row["measured"]:
        return f"{start}, {NOT_MEASURED}{gpu}"
    low, high = row["spread"]
    verdict = "met" if row["met"] else f"MISSED: {row['why_missed']}"
    return f"{start}, measured {row['ratio']:.3g}x ({low:.3g} to {high:.3g}), {verdict}{gpu}"
