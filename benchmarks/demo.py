"""The table that `segprobe demo` prints, over several seeds of scenes' labels and of the head.

Expected: under two minutes a seed on two idle cores.

    python benchmarks/demo.py [--seeds 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

from record import write_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "segprobe", "demo", "--json", "--seeds", str(seeds), "--out", folder]
        started = time.perf_counter()
        run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - started
    rows = json.loads(run.stdout)["rows"]
    print(write_result("demo", rows, seeds=list(range(seeds)), backbone="demo-ssvt, frozen", wall_seconds=seconds))


if __name__ == "__main__":
    main()
