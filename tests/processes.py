"""Commands in processes of their own, forked from a server that has imported everything, where there are forks."""

import os
import runpy
import socket
import sys
from multiprocessing.context import BaseContext
from pathlib import Path

from labelgen.processes import take_environment, worker_context


class Command:
    """A Python program that runs in a folder.

    Parameters
    ----------
    words
        A module, as behind `python -m`, or a script, and its arguments.
    folder
        In which it runs.
    variables
        Of the environment, beside those of this process.
    """

    def __init__(self, words: list[str], folder: Path, **variables: str) -> None:
        self.outputs = [folder / f".output-{os.urandom(4).hex()}" for _ in range(2)]
        with worker_context() as (context, environment):
            given = (words, str(folder), {**environment, **variables}, [str(path) for path in self.outputs])
            self.process = _process(context, given)
            self.process.start()

    def done(self) -> str:
        """Wait until it has ended well, and read what it has printed."""
        self.process.join()
        out, err = (path.read_text(encoding="utf-8") for path in self.outputs)
        for path in self.outputs:
            path.unlink()
        assert self.process.exitcode == 0, err
        self.process.close()
        return out


def run_two(words: list[str], folder: Path) -> list[str]:
    """Run `segprobe` with these words as ranks 0 and 1, with the variables of torchrun; what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [Command(["segprobe", *words], folder, **shared, RANK=rank, LOCAL_RANK=rank) for rank in "01"]
    return [rank.done() for rank in ranks]


def _process(context: BaseContext, given: tuple):
    return context.Process(target=_run, args=given)  # type: ignore[attr-defined]


def _run(words: list[str], folder: str, environment: dict[str, str], outputs: list[str]) -> None:
    take_environment(environment)
    os.chdir(folder)
    for descriptor, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = list(words)
    if Path(words[0]).is_file():
        runpy.run_path(words[0], run_name="__main__")
    else:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
