"""Times of several ways of doing the same work, part after part, and how many times as fast one is as another."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

QUARTILES = (0.25, 0.5, 0.75)


class Seconds(NamedTuple):
    """What one part took: by the clock, and of the processor (which other programs leave alone)."""

    clock: float
    processor: float


Times = dict[str, list[Seconds]]


def timed(run: Callable[[], Any]) -> tuple[Any, Seconds]:
    """The result and what it took."""
    clock, processor = time.perf_counter(), time.process_time()
    result = run()
    return result, Seconds(time.perf_counter() - clock, time.process_time() - processor)


def alternate(ways: Mapping[str, Callable[[Any], Any]], parts: Sequence[Any], *, rounds: int = 1) -> Times:
    """Do each part in every way before the next part, so that a busy moment hits all ways."""
    times: Times = {name: [] for name in ways}
    for _ in range(rounds):
        for part in parts:
            for name, run in ways.items():
                times[name].append(timed(lambda run=run, part=part: run(part))[1])
    return times


def compare(
    name: str,
    ours: Sequence[Seconds],
    theirs: Sequence[Seconds],
    *,
    by: str = "processor",
    unit: str = "ms/image",
    images: int | Sequence[int] = 1,
) -> dict[str, Any]:
    """One comparison as a result file keeps it: quotients part by part, their median and quartiles.

    Parameters
    ----------
    name
        As `goals.GOALS` knows it.
    by
        `clock` or `processor`.
    unit
        Of the medians of both ways: `ms/image` or `s`.
    images
        How many images a part holds.
    """
    counts = np.broadcast_to(images, len(ours))
    mine, peer = (np.array([getattr(seconds, by) for seconds in way]) for way in (ours, theirs))
    scale = {"ms/image": 1000 / counts, "s/image": 1 / counts, "s": 1.0}[unit]
    low, middle, high = np.quantile(peer / mine, QUARTILES)
    return {
        "name": name,
        "by": by,
        "unit": unit,
        "ours": figures(statistics.median(mine * scale)),
        "peer": figures(statistics.median(peer * scale)),
        "ratio": figures(middle),
        "ratio_low": figures(low),
        "ratio_high": figures(high),
        "ratio_of": len(mine),
    }


def figures(number: float) -> float:
    """Four digits that mean something."""
    return float(f"{number:.4g}")


def load() -> list[float] | None:
    """Processes that wanted the machine in the last 1, 5 and 15 minutes; 1 or 2 while a benchmark runs alone."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
