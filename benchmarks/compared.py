"""What benchmarks of typed commands share: a command, a comparison in several processes, its rows, a run's bytes."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROW = ("run", "backbone", "head", "strategy", "variant", "label_miou", "coverage", "miou", "interval", "train_miou")
ROW_MORE = ("gain", "gain_interval", "retention", "seconds")


def command(*words: str, threads: int = 0) -> str:
    """Run one command of the product and return its standard output."""
    package, *rest = words
    run = subprocess.run(
        [sys.executable, "-m", package, *rest], stdout=subprocess.PIPE, text=True, check=True, env=_environment(threads)
    )
    return run.stdout


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}


def compare(words: Sequence[str], *, processes: int) -> dict:
    """Fill the cells of `segprobe compare WORDS` in several processes of one thread each, then read its table."""
    command("segprobe", "compare", *words, "--shard", f"1/{10**6}", "--json", threads=1)  # features, once
    shards = [
        subprocess.Popen(
            [sys.executable, "-m", "segprobe", "compare", *words, "--shard", f"{i + 1}/{processes}", "--json"],
            stdout=subprocess.DEVNULL,
            env=_environment(1),
        )
        for i in range(processes)
    ]
    for shard in shards:
        if shard.wait():
            raise SystemExit(f"a shard of the comparison failed with exit code {shard.returncode}")
    return json.loads(command("segprobe", "compare", *words, "--json", "--plot"))


def table(document: dict) -> list[dict]:
    """Means over seeds, rounded, each with the mIoU of its seeds."""
    rows = []
    for row in document["rows"]:
        if row["seed"] is not None:
            continue
        same = [r for r in document["rows"] if r["seed"] is not None and all(r[k] == row[k] for k in ROW[:5])]
        kept = {key: rounded(row[key]) for key in (*ROW, *ROW_MORE)}
        rows.append({**kept, "seeds": [rounded(r["miou"]) for r in same]})
    return rows


def rounded(value):
    """Floats, and those in lists, with four decimals."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value


def differences(document: dict) -> list[dict]:
    """Frozen minus tuned, rounded."""
    return [{key: rounded(value) for key, value in d.items()} for d in document["differences"]]


def make_run(words: Iterable[str], out: Path) -> str:
    """Make a run by a labelgen command; what is there already stays."""
    command("labelgen", *words, "--out", str(out))
    return str(out)


def digest_of(out: Path) -> str:
    """One hash of all files of a run."""
    digest = hashlib.sha256()
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        digest.update(path.relative_to(out).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
