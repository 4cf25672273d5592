"""The table that `segprobe demo` prints, over several seeds of scenes' labels and of the head.

Expected: under two minutes a seed on two idle cores.

    python benchmarks/demo.py [--seeds 3]
"""

import argparse
import json
import tempfile
import time

from compared import command
from record import write_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        text = command("segprobe", "demo", "--json", "--seeds", str(seeds), "--out", folder)
        seconds = time.perf_counter() - started
    rows = json.loads(text)["rows"]
    print(write_result("demo", rows, seeds=list(range(seeds)), backbone="demo-ssvt, frozen", wall_seconds=seconds))


if __name__ == "__main__":
    main()
