"""Fuzz every reader of files: bytes chosen by what code they reach, in search of anything but our own errors.

Each target of the tables in `tests/parsers` runs in a process of its own under atheris (`pip install atheris`), which
counts the branches of labelgen and segprobe that an input takes and keeps the inputs that take new ones. A finding is
another exception than those of `labelgen.errors`, an input that takes more than 10 seconds, one that makes the process
grow by more than 1 GB, or the end of the process. Findings are kept beside the corpora.

Run:

    python benchmarks/fuzz.py --minutes 30 --work WORK_FOLDER
    python benchmarks/fuzz.py --minutes 1 --work WORK_FOLDER --targets vocabulary webdataset

Times and counts of several runs on one work folder are added up. Expected: no finding.
"""

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS = 10  # that one input may take
GROWTH = 2**20  # kB that one input may add to the peak of the resident memory
MEMORY = 8 * 2**30  # bytes of address space of a process
SAVED_EVERY = 2.0  # seconds between two notes of the counts
GRACE = 600  # seconds for imports, which are slow under instruments, and the end of a process
COMPILED = ("labelgen/geometry", "labelgen/refine")  # by numba, which cannot compile what is instrumented
SEED = 1


class TooSlow(BaseException):
    """An input takes too long."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="for all targets together")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpora and findings")
    parser.add_argument("--targets", nargs="*", default=[], help="names in tests/parsers; default: all")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.one:
        fuzz_one(options.one, options.work.resolve() / options.one, options.minutes * 60)
        return
    from parsers import PARSERS

    names = options.targets or list(PARSERS)
    unknown = sorted(set(names) - set(PARSERS))
    if unknown:
        parser.error(f"unknown target {unknown[0]}; targets: {', '.join(PARSERS)}")
    for name in names:
        run_target(name, options.work, options.minutes / len(names))
    record(options.work, list(PARSERS))


def run_target(name, work, minutes):
    """Fuzz one target in a process of its own, and add what it did to its totals."""
    folder = work / name
    folder.mkdir(exist_ok=True)
    (folder / "now.json").unlink(missing_ok=True)
    command = [sys.executable, __file__, "--one", name, "--minutes", str(minutes), "--work", str(work)]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(timeout=minutes * 60 + GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    now = read(folder / "now.json", {"seconds": 0.0, "executions": 0, "findings": {}})
    if code != 0 and not now["executions"]:
        sys.exit(f"{name} did not begin ({code}): see {folder / 'log.txt'}")
    if code != 0:
        last = (folder / "log.txt").read_bytes().decode(errors="replace").strip().splitlines()[-1:]
        now["findings"][f"the process ended with {code}"] = {"what": " ".join(last)[:200], "input": "log.txt"}
    before = read(folder / "totals.json", {"seconds": 0.0, "executions": 0, "findings": {}})
    totals = {key: before[key] + now[key] for key in ("seconds", "executions")}
    totals["findings"] = {**before["findings"], **now["findings"]}
    totals["corpus"] = len(list((folder / "corpus").glob("*")))
    (folder / "totals.json").write_text(json.dumps(totals, indent=1), encoding="utf-8")
    print(
        f"{name}: {now['seconds']:.0f} s, {now['executions']} executions, {len(now['findings'])} findings", flush=True
    )
    for where, found in now["findings"].items():
        print(f"    {where}: {found['what']}", flush=True)


def read(path, default):
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def fuzz_one(name, folder, seconds):
    """Runs in the process of one target; does not return."""
    import warnings

    import atheris

    files = [path.relative_to(ROOT).with_suffix("") for part in COMPILED for path in (ROOT / part).glob("*.py")]
    exclude = [".".join(path.parts) for path in files]
    with atheris.instrument_imports(include=["labelgen", "segprobe"], exclude=exclude):
        from parsers import PARSERS

        import labelgen.errors

        parser = PARSERS[name]
        place = folder / "place"
        parser.prepare(place)
        corpus = folder / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        for content in parser.seeds():
            (corpus / hashlib.sha256(content).hexdigest()).write_bytes(content)
            parser.run(place, content)  # imports what is imported late
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    notes = Notes(folder, labelgen.errors.LabelgenError)

    def test_one_input(content):
        notes.note(lambda: parser.run(place, content), content)

    flags = [
        f"-max_total_time={max(int(seconds), 1)}",
        f"-seed={SEED + len(list(corpus.iterdir()))}",
        "-rss_limit_mb=0",
    ]
    flags += ["-timeout=60", "-print_final_stats=1", f"-max_len={2**16}", f"-artifact_prefix={folder.as_posix()}/"]
    signal.signal(signal.SIGALRM, _too_slow)
    atheris.Setup([sys.argv[0], *flags, str(corpus)], test_one_input)
    atheris.Fuzz()


def _too_slow(*_):
    raise TooSlow


class Notes:
    """Counts executions and keeps findings, each kind once."""

    def __init__(self, folder, own):
        self.folder, self.own = folder, own
        self.begun = self.saved = time.monotonic()
        self.executions, self.findings = 0, {}

    def note(self, run, content):
        self.executions += 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            run()
        except self.own as error:
            if not error.message:
                self.found("an error without words", repr(error), content)
        except (Exception, TooSlow) as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_ours(f.filename)]
            place = f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else "?"
            self.found(f"{type(error).__name__} at {place}", str(error)[:200], content)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if grown > GROWTH:
            self.found("memory", f"{grown / 2**20:.1f} GB more", content)
        if time.monotonic() - self.saved > SAVED_EVERY:
            self.save()

    def found(self, where, what, content):
        if where not in self.findings:
            path = self.folder / f"finding-{hashlib.sha256(where.encode()).hexdigest()[:12]}"
            path.write_bytes(content)
            self.findings[where] = {"what": what, "input": path.name}
            self.save()

    def save(self):
        self.saved = time.monotonic()
        facts = {"seconds": round(self.saved - self.begun, 1), "executions": self.executions, "findings": self.findings}
        temporary = self.folder / "now.tmp"
        temporary.write_text(json.dumps(facts), encoding="utf-8")
        os.replace(temporary, self.folder / "now.json")  # noqa: PTH105


def _is_ours(filename):
    return filename.startswith((str(ROOT / "labelgen"), str(ROOT / "segprobe")))


def record(work, names):
    """Write the totals of all targets that were ever fuzzed on this work folder."""
    from record import write_result

    totals = {name: read(work / name / "totals.json", None) for name in names}
    rows = [
        {
            "target": name,
            "seconds": round(found["seconds"], 1),
            "executions": found["executions"],
            "corpus": found["corpus"],
            "findings": [f"{where}: {what['what']}" for where, what in found["findings"].items()],
        }
        for name, found in totals.items()
        if found
    ]
    seconds, executions = (sum(row[key] for row in rows) for key in ("seconds", "executions"))
    facts = {
        "minutes": round(seconds / 60, 1),
        "executions": executions,
        "findings": sum(map(len, (r["findings"] for r in rows))),
    }
    path = write_result("fuzz", rows, seeds=[SEED], packages=("atheris",), **facts)
    print(f"{facts['minutes']} minutes, {executions} executions, {facts['findings']} findings: {path}")


if __name__ == "__main__":
    main()
