"""Import the heavy packages in a process of its own, so that one that crashes or hangs only ends that process."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["STEPS", "try_steps"]

PATIENCE = 180.0  # seconds; importing torch takes a few, and much longer from a cold network disk

STEPS: Mapping[str, str] = {
    "torch": """
        import torch
        found = {"version": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads()}
        float(torch.ones(8, 8).mm(torch.ones(8, 8)).sum())
    """,
    "torchvision": """
        import torch, torchvision
        found = {"version": torchvision.__version__}
        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9]])
        assert torchvision.ops.nms(boxes, torch.tensor([1.0, 0.5]), 0.5).tolist() == [0]
    """,
    "gpu": """
        import torch
        devices = []
        for number in range(torch.cuda.device_count()) if torch.cuda.is_available() else ():
            facts = torch.cuda.get_device_properties(number)
            devices.append({"name": facts.name, "gib": round(facts.total_memory / 2**30, 1)})
        if devices:
            float(torch.ones(8, device="cuda").sum())
        mps = getattr(torch.backends, "mps", None)
        found = {"cuda": devices, "mps": bool(mps and mps.is_available())}
    """,
    "numba": """
        import numba
        found = {"version": numba.__version__}
        assert numba.njit(lambda x: x + 1)(1) == 2
    """,
    "cv2": """
        import cv2
        found = {"version": cv2.__version__, "file": cv2.__file__}
    """,
    "pydensecrf": """
        import pydensecrf, pydensecrf.densecrf
        found = {"file": pydensecrf.densecrf.__file__}
    """,
    "timm": """
        import timm
        found = {"version": timm.__version__}
    """,
    "open_clip": """
        import open_clip
        found = {"version": open_clip.__version__}
    """,
}
"""Name of a step to the code that tries it and says what was found."""

RUNNER = """
import json, sys, textwrap, warnings
warnings.simplefilter("ignore")
out, sys.stdout = sys.stdout, sys.stderr
for name, code in json.loads(sys.argv[1]).items():
    print(json.dumps({"step": name, "begun": True}), file=out, flush=True)
    place = {}
    try:
        exec(textwrap.dedent(code), place)
        line = {"step": name, "found": place["found"]}
    except BaseException as error:
        line = {"step": name, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(line), file=out, flush=True)
"""


def try_steps(
    names: Sequence[str], *, steps: Mapping[str, str] = STEPS, seconds: float = PATIENCE, python: str = sys.executable
) -> dict[str, dict[str, Any]]:
    """Try steps one after the other in a child; one that takes it down is left out of a second attempt.

    Returns
    -------
    dict
        Name of each step to `{"found": facts}` or `{"error": sentence}`.

    Examples
    --------
    >>> code = {"fine": "found = {'one': 1}", "broken": "raise ImportError('no ops')"}
    >>> try_steps(["fine", "broken"], steps=code)
    {'fine': {'found': {'one': 1}}, 'broken': {'error': 'ImportError: no ops'}}
    """
    results: dict[str, dict[str, Any]] = {}
    left = list(names)
    while left:
        lines, end = _run({name: steps[name] for name in left}, seconds, python)
        for line in lines:
            if "begun" not in line:
                results[line["step"]] = {key: line[key] for key in ("found", "error") if key in line}
        if all(name in results for name in left):
            break
        begun = [line["step"] for line in lines if "begun" in line and line["step"] not in results]
        culprit = begun[0] if begun else next(name for name in left if name not in results)
        results[culprit] = {"error": end}
        left = [name for name in left if name not in results]
    return {name: results[name] for name in names}


def _run(codes: Mapping[str, str], seconds: float, python: str) -> tuple[list[dict[str, Any]], str]:
    """Lines that a child wrote, and how it ended where it did not finish."""
    command = [python, "-c", RUNNER, json.dumps(codes)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
        written, end = done.stdout, _end(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as error:
        written, end = error.stdout or b"", f"no answer within {seconds:.0f} seconds"
    except OSError as error:
        return [], f"no process could be started ({error})"
    return [json.loads(line) for line in written.decode(errors="replace").splitlines() if line.endswith("}")], end


def _end(code: int, errors: bytes) -> str:
    last = (errors.decode(errors="replace").strip().splitlines() or [""])[-1]
    how = f"the process was killed by signal {-code}" if code < 0 else f"the process ended with code {code}"
    return f"{how}: {last}" if last else how
