"""How much faster are two workers than one, and two actors of a Ray cluster than two processes?

The commands as they are typed, each in a process of its own, which says its wall-clock time from its first import to
its end, start of the workers included; the start of its interpreter is the same for all. A worker has one thread. In
each round the ways follow each other, on masks or photographs of the train split of PASCAL VOC:

- generate: `labelgen scribble`;
- refine: `labelgen refine --with crf:psa,threads=1` of corrupted truth, on photographs;
- quality: `labelgen quality` of those scribbles, with contours (`--boundary --boundary-f1 0.0075`), which is what takes
  long enough to be shared.

What can be had on a machine: the command with one worker, twice at once, into two folders. The two share nothing but
the machine, so two workers can hardly do better than half the time that both take ("side by side"). Two virtual
processors may well be two threads of one core.

Ray: the cluster is one that runs already, with two processors; it is begun here and stopped at the end. What it takes
to begin one for a command alone is kept beside it. All files of a run, and the document of quality, must be the same in
all ways. Goals: two workers 1.8 times as fast as one, Ray at least 0.8 times as fast as local. A quarter of an hour on
two idle cores:

    python benchmarks/workers_speed.py --masks DIR/voc2012-masks --photographs DIR/voc2012-animals
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from compared import digest_of
from record import write_result
from times import Seconds, Times, compare, load

from labelgen.threads import THREAD_VARIABLES

ROUNDS = 3
SIDE_BY_SIDE = "two commands side by side, one worker each"
WAYS = {
    "one worker": ["--workers", "1"],
    "two workers": ["--workers", "2"],
    "ray, two workers": ["--workers", "2", "--engine", "ray"],
    SIDE_BY_SIDE: ["--workers", "1"],
}
CHILD = """
import sys, time
start = time.perf_counter()
from labelgen.cli import main
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(repr((time.perf_counter() - start, time.process_time())))
sys.exit(code)
"""
HEAD = ["-m", "ray.scripts.scripts", "start", "--head", "--num-cpus=2", "--num-gpus=0", "--include-dashboard=false"]
HEAD += ["--object-store-memory=80000000", "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", required=True, help="VOC folder with SegmentationClass and ImageSets")
    parser.add_argument("--photographs", required=True, help="the same with JPEGImages, too")
    parser.add_argument("--images", type=int, default=0, help="only the first N; 0 for all")
    parser.add_argument("--refined", type=int, default=200, help="photographs that are refined")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=("generate", "refine", "quality"), help="one of the works")
    parser.add_argument("--without-ray", action="store_true")
    options = parser.parse_args()
    ways = {name: flags for name, flags in WAYS.items() if not (options.without_ray and "ray" in name)}
    with tempfile.TemporaryDirectory() as name, ray_head(options.without_ray) as (address, begin_seconds):
        if address:
            ways["ray, two workers"] = [*ways["ray, two workers"], "--ray-address", address]
        works = commands(Path(name), options)
        rows, comparisons = [], []
        for work, command in works.items():
            if options.only not in (None, work):
                continue
            times = alternating(Path(name), work, command, ways, options.rounds)
            rows += [
                {"work": work, "way": way, "seconds": sorted(s.clock for s in taken)[len(taken) // 2]}
                for way, taken in times.items()
            ]
            comparisons.append(
                compare(f"workers-{work}", times["two workers"], times["one worker"], by="clock", unit="s")
            )
            side = times[SIDE_BY_SIDE]
            comparisons.append(compare(f"limit-{work}", side, times["one worker"], by="clock", unit="s"))
            if address:
                pair = times["ray, two workers"], times["two workers"]
                comparisons.append(compare(f"ray-{work}", *pair, by="clock", unit="s"))
            for row in rows[-len(ways) :]:
                print(f"{row['work']:10} {row['way']:18} {row['seconds']:8.2f} s", flush=True)
    write_result(
        "workers_speed",
        rows,
        seeds=[0],
        packages=("ray",),
        images=options.images or "all",
        refined=options.refined,
        rounds=options.rounds,
        seconds_to_begin_a_cluster=begin_seconds,
        load=load(),
        comparisons=comparisons,
    )


def commands(folder: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """What is measured, after what it needs is made. A work that writes a run takes --out."""
    limit = ["--limit", str(options.images)] if options.images else []
    scribble = ["scribble", f"voc:{options.masks}", "--split", "train", "--no-sheet", *limit]
    corrupt = ["corrupt", f"voc:{options.photographs}", "--split", "train", "--no-sheet", "--workers", "2"]
    children(folder, [[*scribble, "--workers", "2", "--out", str(folder / "scribbles")]])
    children(folder, [[*corrupt, "--limit", str(options.refined), "--out", str(folder / "corrupt")]])
    return {
        "generate": scribble,
        "refine": ["refine", str(folder / "corrupt"), "--with", "crf:psa,threads=1", "--no-sheet"],
        "quality": ["quality", str(folder / "scribbles"), "--boundary", "--boundary-f1", "0.0075"],
    }


def alternating(folder: Path, work: str, command: list[str], ways: dict[str, list[str]], rounds: int) -> Times:
    """Seconds of each way in each round; all results must have the same bytes."""
    times: Times = {way: [] for way in ways}
    digests: dict[str, str] = {}
    for _ in range(rounds):
        for way, flags in ways.items():
            copies = 2 if way == SIDE_BY_SIDE else 1
            outs = [folder / f"out-{copy}" for copy in range(copies)]
            where = [["--json"] if work == "quality" else ["--out", str(out)] for out in outs]
            ended = children(folder, [[*command, *place, *flags] for place in where])
            times[way].append(Seconds(*(max(column) / copies for column in zip(*(s for s, _ in ended), strict=True))))
            for out, (_, said) in zip(outs, ended, strict=True):
                digest = hashlib.sha256(said.encode()).hexdigest() if work == "quality" else digest_of(out)
                if digests.setdefault(work, digest) != digest:
                    sys.exit(f"error: {way} made other bytes of {work} than {next(iter(ways))}")
                shutil.rmtree(out, ignore_errors=True)
    return times


def children(folder: Path, commands: list[list[str]]) -> list[tuple[Seconds, str]]:
    """Run commands at once, each in a process of its own: what each took, and what it printed."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
    started = []
    for number, command in enumerate(commands):
        note = folder / f"seconds-{number}.txt"
        words = [sys.executable, "-c", CHILD, str(note), *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append((note, command, subprocess.Popen(words, cwd=folder, env=environment, **pipes)))
    with ThreadPoolExecutor(len(started)) as readers:  # a full pipe would hold one of them up
        outputs = list(readers.map(lambda each: each[2].communicate(), started))
    ended = []
    for (note, command, process), (said, complaint) in zip(started, outputs, strict=True):
        if process.returncode:
            sys.exit(f"error: labelgen {' '.join(command)}\n{said}{complaint}")
        ended.append((Seconds(*json.loads(note.read_text().replace("(", "[").replace(")", "]"))), said))
    return ended


@contextmanager
def ray_head(without: bool) -> Iterator[tuple[str, float | None]]:
    """Address of a cluster of this machine with two processors, and the seconds that its begin took."""
    if without:
        yield "", None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # a token of its own, so that none is looked for, or kept, at home
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    start = time.perf_counter()
    head = subprocess.Popen(
        [sys.executable, *HEAD, f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert head.stdout is not None
    lines = []
    for line in head.stdout:
        lines.append(line)
        if "Ray runtime started" in line:
            break
    else:
        sys.exit("error: ray start --head did not start\n" + "".join(lines))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster ends with this process
    try:
        yield f"127.0.0.1:{port}", round(time.perf_counter() - start, 1)
    finally:
        head.terminate()
        head.wait(timeout=60)


if __name__ == "__main__":
    main()
