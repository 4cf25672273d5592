"""Measure every row of the table of speed beside its peer, one benchmark after the other, and put it into README.

Each benchmark is a process of its own and writes benchmarks/results/<name>.json with versions, machine, medians and
quartiles; results/run_all.json holds the rows of the table, from these files. A benchmark that fails is said at the end
and keeps no other from running. Nothing else should run on the machine. About an hour and a half on two idle cores:

    python benchmarks/run_all.py --data DIR                  # DIR holds voc2012-masks and voc2012-animals
    python benchmarks/run_all.py --data DIR --only walk crf  # these alone; the other rows stay
    python benchmarks/run_all.py --data DIR --quick          # a few images each, to try it; writes nothing
    python benchmarks/run_all.py --only                      # measure nothing; the table of what the files hold

`--weights` takes a checkpoint of mobilenetv2_100 for the class maps (mobilenetv2_checkpoint.py makes one); without it
they come from random weights, which cost the same.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import table
from goals import line_of, rows_from
from record import HERE, RESULTS, write_result

from labelgen.threads import THREAD_VARIABLES

MASKS, PHOTOGRAPHS = "voc2012-masks", "voc2012-animals"


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark is called; `{masks}`, `{photographs}` and `{weights}` are filled in."""

    name: str
    words: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    minutes: float = 1.0

    def command(self, places: dict[str, str], *, quick: bool) -> list[str]:
        words = [word.format(**places) for word in (*self.words, *(self.quick if quick else ()))]
        return [sys.executable, str(HERE / f"{self.name}_speed.py"), *words]


BENCHMARKS = (
    Benchmark("quality", ("--data", "{masks}"), ("--images", "6", "--parts", "2"), 9),
    Benchmark("scribble", ("--data", "{masks}"), ("--images", "4", "--rounds", "1"), 9),
    Benchmark("crf", ("--data", "{photographs}"), ("--images", "1", "--repeats", "1"), 3),
    Benchmark("walk", ("--data", "{photographs}", "--whole"), ("--stride", "8", "--images", "1"), 10),
    Benchmark("clip", (), ("--images", "1", "--repeats", "1"), 4),
    Benchmark("cam", ("--data", "voc:{photographs}", "--classes", "2", "--weights", "{weights}"), ("--images", "1"), 4),
    Benchmark("fit", ("--data", "{photographs}"), ("--only", "ViT-S/14 at 448", "--epochs", "2", "--images", "2"), 15),
    Benchmark("features", ("--data", "{photographs}"), ("--images", "2", "--rounds", "1", "--size", "112"), 4),
    Benchmark(
        "workers",
        ("--masks", "{masks}", "--photographs", "{photographs}"),
        ("--images", "8", "--refined", "2", "--rounds", "1", "--without-ray"),
        15,
    ),
    Benchmark("pamr", ("--data", "{photographs}"), (), 4),
    Benchmark("tree", (), (), 1),
)
NOT_QUICK = ("pamr", "tree")  # no row of the table of goals, and no smaller size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help=f"folder that holds {MASKS} and {PHOTOGRAPHS}")
    parser.add_argument("--weights", default="", help="timm checkpoint of mobilenetv2_100, for the class maps")
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("--only", nargs="*", choices=names, metavar="NAME", help=f"out of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="few images; writes nothing")
    options = parser.parse_args()
    chosen = [b for b in BENCHMARKS if options.only is None or b.name in options.only]
    chosen = [b for b in chosen if not (options.quick and b.name in NOT_QUICK)]
    if chosen:
        check_data(parser, options.data)
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch, "results") if options.quick else RESULTS
        print(f"{len(chosen)} benchmarks" + ("" if options.quick else f", about {minutes_of(chosen):.0f} minutes"))
        failed = [b.name for b in chosen if not succeeded(b, options, results)]
        rows = list(rows_from(results))
    for row in rows:
        print(line_of(row))
    missed = [row["name"] for row in rows if row["met"] is False]
    unmeasured = [row["name"] for row in rows if not row["measured"]]
    print(f"{sum(row['met'] is True for row in rows)} of {len(rows)} goals met", end="")
    print(f"; missed: {', '.join(missed) or 'none'}; not measured: {', '.join(unmeasured) or 'none'}")
    if not options.quick:
        write_result("run_all", rows, seeds=[0], packages=PEERS, failed=failed)
        table.write()
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed; what they said is above")


PEERS = (
    "scikit-learn",
    "torchmetrics",
    "networkx",
    "pydensecrf2",
    "open_clip_torch",
    "grad-cam",
    "ray",
)


def check_data(parser: argparse.ArgumentParser, data: str) -> None:
    for name in (MASKS, PHOTOGRAPHS):
        if not Path(data, name, "SegmentationClass").is_dir():
            parser.error(f"--data must name a folder that holds {MASKS} and {PHOTOGRAPHS}, got {data!r} without {name}")


def minutes_of(chosen: Sequence[Benchmark]) -> float:
    return sum(benchmark.minutes for benchmark in chosen)


def succeeded(benchmark: Benchmark, options: argparse.Namespace, results: Path) -> bool:
    """Run one benchmark with what it prints passed on; whether it came to its end.

    Each benchmark says itself how many threads it takes: what the environment says would be true of some rows only.
    """
    data = Path(options.data).resolve()
    weights = str(Path(options.weights).resolve()) if options.weights else ""
    places = {"masks": str(data / MASKS), "photographs": str(data / PHOTOGRAPHS), "weights": weights}
    print(f"== {benchmark.name}", flush=True)
    start = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    environment |= {"LABELGEN_BENCHMARK_RESULTS": str(results)}
    run = subprocess.run(benchmark.command(places, quick=options.quick), env=environment, check=False)
    verdict = "done" if run.returncode == 0 else f"FAILED with exit code {run.returncode}"
    print(f"== {benchmark.name}: {verdict} in {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)
    return run.returncode == 0


if __name__ == "__main__":
    main()
