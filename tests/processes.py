"""Two processes of one training, with the variables that torchrun would set but without its launcher."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def run_two(words: list[str], folder: Path) -> list[str]:
    """Run `segprobe` with these words as ranks 0 and 1 in a folder; what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "segprobe", *words],
            cwd=folder,
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    outputs = [process.communicate() for process in started]
    for process, (_, err) in zip(started, outputs, strict=True):
        assert process.returncode == 0, err
    return [out for out, _ in outputs]
