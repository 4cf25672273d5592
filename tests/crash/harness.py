"""Kill commands at chosen or random moments, start them again until they are done, and compare every byte."""

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PROBE = ("--epochs", "3", "--batch-size", "2", "--checkpoint-every", "2", "--no-flip")
FEW_IMPORTS = {  # the process that forks commands has imported everything, and the server of their workers need not
    "labelgen.processes.OURS": [],
    "labelgen.processes.HEAVY": [
        *("labelgen.pool", "labelgen.job_builders", "labelgen.data.open", "labelgen.demo.scenes"),
        "labelgen.methods.corruptions.table",
    ],
}
SMALL_SHARDS = {f"segprobe.features.{module}.SHARD_IMAGES": 2 for module in ("layout", "build")}

MAY_DIFFER: dict[str, str] = {}
"""Path of a file to why its bytes may depend on interruptions. Nothing does: no file holds a time, a host or a count of
attempts, and what a resumed command computes, it computes with the same numbers."""


@dataclass(frozen=True)
class Stage:
    """A command that is killed.

    Parameters
    ----------
    argv
        Program and words.
    before
        Commands that make what it reads.
    warm
        Commands that compile and load in the zygote what this one needs. None that trains: a process whose parent did
        backward passes cannot.
    patch
        Constants of the code that are smaller here, so that little data have many parts.
    """

    argv: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    patch: dict[str, Any] = field(default_factory=dict)
    warm: tuple[tuple[str, ...], ...] = ()


SOURCE = ("labelgen", "corrupt", "demo:6", "--level", "0.3", "--out", "runs/source", "--save-scores", "--no-sheet")
CORRUPT = ("labelgen", "corrupt", "demo:6", "--level", "0.2", "--out", "runs/a")
SCRIBBLE = ("labelgen", "scribble", "demo:6", "--out", "runs/a", "--no-sheet")
SLIC = ("labelgen", "refine", "runs/source", "--with", "regions:slic", "--out", "runs/b", "--no-sheet")
CACHE = ("segprobe", "cache", "demo:6", "--out", "cache")
FIT = ("segprobe", "fit", "runs/source", "--out", "probes/p", *PROBE)
ROUNDS = ("--rounds", "1", "--correct", "confident")
STAGES = {
    "generate": Stage((*CORRUPT, "--save-scores"), warm=((*CORRUPT, "--save-scores"),)),
    "scribble": Stage(SCRIBBLE, warm=(SCRIBBLE,)),
    "two workers": Stage(
        ("labelgen", "corrupt", "demo:12", *CORRUPT[3:], "--workers", "2", "--no-sheet"), patch=FEW_IMPORTS
    ),
    "refine": Stage(SLIC, (SOURCE,), warm=(SOURCE, SLIC)),
    "cache": Stage(CACHE, patch=SMALL_SHARDS, warm=(CACHE,)),
    "fit": Stage(FIT, (SOURCE,), SMALL_SHARDS, warm=(CACHE,)),
    "fit in rounds": Stage((*FIT, *ROUNDS), (SOURCE,), SMALL_SHARDS, warm=(CACHE,)),
}


class Zygote:
    """A process that forks commands; see `zygote`."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.prepared: dict[str, Prepared] = {}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        environment["LABELGEN_CACHE"] = str(work / "user-cache")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.requests, self.answers = self.process.stdin, self.process.stdout

    def twin(self, work: Path) -> "Zygote":
        """A fork of it, as warm, which runs commands at the same time."""
        found = copy.copy(self)
        found.work, found.process = work, None
        ways = work / "requests", work / "answers"
        for way in ways:
            os.mkfifo(way)
        self.ask({"twin": [str(way) for way in ways]})
        found.requests, found.answers = ways[0].open("w"), ways[1].open()
        return found

    def ask(self, request: dict) -> dict:
        """Send a line, and read one."""
        self.requests.write(json.dumps(request) + "\n")
        self.requests.flush()
        return json.loads(self.answers.readline())

    def run(self, argv, cwd: Path, *, fault=None, patch=None, timeout=60.0, warm=False, log="") -> dict:
        """Run a command line in a folder; returns code (negative for a signal), counts and whether all children ended.

        Parameters
        ----------
        fault
            `{"kind": "kill", "at": n}` before the n-th change on disk; `{"kind": "tear", "at": n}` in the midst of the
            n-th write; `{"kind": "kill-after", "seconds": s}`; `{"kind": "signal-after", "seconds": s, "signal": n}`,
            both with `"when": [glob, count]` to wait for files; `{"kind": "errno", "at": n, "errno": e}` from the n-th
            write on; `{"kind": "read-only"}`. With `"release": path` it is killed once there is such a file.
        """
        path = self.work / f"{log or cwd.name}.log"
        request = {"argv": list(argv), "cwd": str(cwd), "log": str(path), "timeout": timeout}
        request |= {"fault": fault or {}, "patch": patch or {}, "warm": warm}
        return {**self.ask(request), "log": path.read_text(errors="replace")}

    def close(self) -> None:
        """End it."""
        self.requests.close()
        if self.process is not None:
            self.process.wait(timeout=30)
        self.answers.close()


@dataclass
class Tally:
    """What was killed and compared so far."""

    kills: int = 0
    restarts: int = 0
    runs: int = 0
    files: int = 0
    bytes: int = 0
    differences: list[str] = field(default_factory=list)
    orphans: int = 0


@dataclass
class Prepared:
    """What a command reads, what it changes on disk when nothing disturbs it, and what there is then."""

    template: Path
    counts: dict
    expected: dict[str, str]


class Trial:
    """One stage, its undisturbed result, and a tally.

    Parameters
    ----------
    zygote
        Runs the commands, and knows what was prepared before.
    name
        Row of `STAGES`.
    work
        Empty folder.
    """

    def __init__(self, zygote: Zygote, name: str, work: Path) -> None:
        self.zygote, self.stage, self.work, self.tally = zygote, STAGES[name], work, Tally()
        work.mkdir(parents=True)
        if name not in zygote.prepared:
            zygote.prepared[name] = self.prepare(zygote.work / "stages" / name)
        found = zygote.prepared[name]
        self.template, self.counts, self.expected = found.template, found.counts, found.expected

    def prepare(self, folder: Path) -> Prepared:
        """Warm up, make what the command reads, and run it undisturbed."""
        warming, self.template, whole = folder / "warm", folder / "template", folder / "whole"
        warming.mkdir(parents=True)
        self.template.mkdir()
        for argv in self.stage.warm:
            warmed = self.zygote.run(argv, warming, warm=True)
            assert warmed["code"] == 0, warmed["log"]
        for argv in self.stage.before:
            self.finish(self.template, argv)
        shutil.copytree(self.template, whole)
        counts = self.finish(whole, self.stage.argv)
        return Prepared(self.template, counts, contents(whole))

    def fresh(self, name: str) -> Path:
        """A folder with what the command reads."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.template, folder)
        return folder

    def finish(self, folder: Path, argv=None) -> dict:
        """Run a command undisturbed."""
        found = self.zygote.run(argv or self.stage.argv, folder, patch=self.stage.patch)
        assert found["code"] == 0, found["log"]
        return found

    def finish_as_undisturbed(self, folder: Path, argv=None) -> None:
        """Run a command undisturbed; the bytes must be those of a folder that nothing ever disturbed."""
        self.finish(folder, argv)
        self.compare(folder)
        assert self.tally.differences == []

    def strike(self, folder: Path, fault: dict) -> dict:
        """Run the command of the stage with a fault."""
        found = self.zygote.run(self.stage.argv, folder, fault=fault, patch=self.stage.patch)
        self.tally.orphans += not found["alone"]
        return found

    def kill_until(self, kills: int, rng: np.random.Generator, *, kinds=("kill", "tear", "kill-after")) -> Tally:
        """Kill and restart until the command is done, in one fresh folder after another, so many kills in all."""
        while self.tally.kills < kills:
            folder = self.fresh("killed")
            while self.tally.kills < kills:
                fault = self.draw(rng, kinds)
                found = self.strike(folder, fault)
                if found["code"] == 0:
                    break
                assert found["code"] == -9, (fault, found["code"], found["log"])
                self.tally.kills += 1
                self.tally.restarts += 1
            self.finish(folder)
            self.compare(folder)
        return self.tally

    def draw(self, rng: np.random.Generator, kinds) -> dict:
        """A fault at a random moment of what an undisturbed command does."""
        kind = str(rng.choice(list(kinds)))
        if kind == "kill-after":
            return {"kind": kind, "seconds": float(rng.uniform(0.005, max(0.02, 0.8 * self.counts["seconds"])))}
        most = self.counts["operations" if kind == "kill" else "writes"]
        return {"kind": kind, "at": int(rng.integers(1, max(2, most // 2)))}

    def compare(self, folder: Path) -> None:
        """Note every file that is missing, extra or different."""
        found = contents(folder)
        self.tally.runs += 1
        self.tally.files += len(found)
        self.tally.bytes += sum((folder / name).stat().st_size for name in found)
        for name in sorted({*found, *self.expected}):
            if found.get(name) != self.expected.get(name) and name not in MAY_DIFFER:
                what = "extra" if name not in self.expected else "missing" if name not in found else "different"
                self.tally.differences.append(f"{name}: {what}")


def contents(folder: Path) -> dict[str, str]:
    """Relative path of every file and empty folder, hidden ones included, to the sha256 of its bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not any(path.iterdir()):
            found[f"{name}/"] = ""
    return found
