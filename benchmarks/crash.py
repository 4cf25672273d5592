"""Kill every stage hundreds of times, start it again until it is done, and compare every byte with an undisturbed run.

    python benchmarks/crash.py --kills 500

Writes benchmarks/results/crash.json. The commands, the moments and the comparison are those of tests/crash.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import RESULTS, write_result

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "crash"))
from harness import MAY_DIFFER, STAGES, Trial, Zygote

SHARES = {"two workers": 0.08, "fit": 0.18, "fit in rounds": 0.12, "cache": 0.14, "refine": 0.14, "scribble": 0.17}
KINDS = ("kill", "kill", "tear", "kill-after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kill this stage anew and keep the rows of the others")
    options = parser.parse_args()
    wanted = {name: round(options.kills * share) for name, share in SHARES.items()}
    wanted = {"generate": options.kills - sum(wanted.values()), **wanted}
    assert set(wanted) == set(STAGES)
    rows = []
    if options.only:
        rows = json.loads((RESULTS / "crash.json").read_text(encoding="utf-8"))["rows"]
        rows = [row for row in rows if row["stage"] != options.only]
    with tempfile.TemporaryDirectory() as work:
        zygote = Zygote(Path(work))
        for number, (name, kills) in enumerate(wanted.items()):
            if options.only not in ("", name):
                continue
            rows.append(row := killed(zygote, name, kills, Path(work), [options.seed, number]))
            print(row, flush=True)
        zygote.close()
    rows.sort(key=lambda row: list(STAGES).index(row["stage"]))
    write_result("crash", rows, seeds=[options.seed], may_differ=MAY_DIFFER, kinds=sorted(set(KINDS)))
    if any(row["differences"] or row["orphans"] for row in rows):
        sys.exit("bytes differ, or processes were left")


def killed(zygote: Zygote, name: str, kills: int, work: Path, seed: list[int]) -> dict:
    """Kill one stage so many times; the row of the table."""
    begin = time.perf_counter()
    trial = Trial(zygote, name, work / name.replace(" ", "-"))
    kinds = ("kill-after",) if name == "two workers" else KINDS
    tally = trial.kill_until(kills, np.random.default_rng(seed), kinds=kinds)
    return {
        "stage": name,
        "command": " ".join(trial.stage.argv),
        "changes_on_disk": trial.counts["operations"],
        "kills": tally.kills,
        "restarts": tally.restarts,
        "runs": tally.runs,
        "files": tally.files,
        "bytes": tally.bytes,
        "differences": tally.differences,
        "orphans": tally.orphans,
        "seconds": round(time.perf_counter() - begin, 1),
    }


if __name__ == "__main__":
    main()
