"""A process that has imported everything and forks a child for each command line, to be killed at a chosen moment.

It reads a line of JSON for each command on stdin (see `harness.Zygote.run`) and answers with a line on stdout.
"""

import contextlib
import errno
import faulthandler
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
HEAVY = ("labelgen.run", "labelgen.report.run_sheet", "labelgen.report.views", "labelgen.refine", "segprobe.fit")


class Faults:
    """Counts what a command changes on disk below its folder, and strikes at the chosen moment."""

    def __init__(self, fault, here):
        self.fault, self.here, self.operations, self.writes = fault, f"{here}{os.sep}", 0, 0

    def install(self):
        from labelgen import writing

        put = writing._put

        def faulty_put(stream, content):
            self.writes += 1
            kind = self.fault.get("kind")
            if kind == "tear" and self.writes == self.fault["at"]:
                stream.write(content[: len(content) // 2])
                with contextlib.suppress(OSError):
                    stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "errno" and self.writes >= self.fault["at"]:
                stream.write(content[: len(content) // 2])
                raise OSError(self.fault["errno"], os.strerror(self.fault["errno"]))
            put(stream, content)

        writing._put = faulty_put
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        if event != "open" and event not in CHANGES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        if not self.is_here(arguments[0]):
            return
        self.operations += 1
        kind = self.fault.get("kind")
        if kind == "kill" and self.operations == self.fault["at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "read-only" and event != "os.remove":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))

    def is_here(self, path):
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        text = os.fsdecode(path)
        return not Path(text).is_absolute() or text.startswith(self.here)


def child(request, answer):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.dump_traceback_later(request["timeout"] / 2, file=sys.stderr)
    for name, value in request.get("patch", {}).items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    faults = Faults(request.get("fault", {}), Path.cwd())
    faults.install()
    program, *argv = request["argv"]
    try:
        code = importlib.import_module(f"{program}.cli").main(argv)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        code = 99
    os.write(answer, json.dumps({"operations": faults.operations, "writes": faults.writes}).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    threading._shutdown()
    gc.collect()  # as the end of an interpreter would, of which this is none
    os._exit(code)


def warm(request):
    """Run a command in this process, so that its children find compiled code and read files in memory."""
    os.chdir(request["cwd"])
    program, *argv = request["argv"]
    with Path(request["log"]).open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        return {"code": importlib.import_module(f"{program}.cli").main(argv)}


def serve(request):
    if request.get("warm"):
        return warm(request)
    reading, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(request, answer)
    os.close(answer)
    fault, begin = request.get("fault", {}), time.monotonic()
    signals = {"kill-after": signal.SIGKILL, "signal-after": fault.get("signal")}
    due = fault.get("seconds") if fault.get("kind") in signals else None
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        waited = time.monotonic() - begin
        if waited > request["timeout"] or ("release" in fault and Path(fault["release"]).exists()):
            os.killpg(pid, signal.SIGKILL)
        if due is not None and waited >= due and ready(request):
            (os.killpg if fault.get("group") else os.kill)(pid, signals[fault["kind"]])
            due = None
        time.sleep(0.001)
    counts = os.read(reading, 10_000)
    os.close(reading)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "alone": nobody_is_left(pid),
        "seconds": time.monotonic() - begin,
        **(json.loads(counts) if counts else {}),
    }


def ready(request):
    """Whether there are so many files as the moment asks for."""
    pattern, count = request["fault"].get("when", ("", 0))
    return not pattern or len(list(Path(request["cwd"]).glob(pattern))) >= count


def nobody_is_left(session, patience=10.0):
    """Whether all processes of a command end soon after it."""
    if not Path("/proc/self").is_dir():
        return True
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if not any(in_session(place.name, session) for place in Path("/proc").iterdir() if place.name.isdigit()):
            return True
        time.sleep(0.01)
    return False


def in_session(pid, session):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[3]) == session


def main():
    for name in HEAVY:
        importlib.import_module(name)
    import cv2

    cv2.setNumThreads(1)  # children cannot use threads of their parent, and wait for them for ever
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer_all(sys.stdin, out)


def answer_all(requests, answers):
    for line in requests:
        request = json.loads(line)
        print(json.dumps(beget(*request["twin"]) if "twin" in request else serve(request)), file=answers, flush=True)


def beget(requests, answers):
    """Fork a process that does what this one does, for whoever writes into one pipe and reads from the other."""
    pid = os.fork()
    if pid == 0:
        with open(requests) as lines, open(answers, "w") as out:  # noqa: PTH123
            answer_all(lines, out)
        os._exit(0)
    return {"pid": pid}


if __name__ == "__main__":
    main()
