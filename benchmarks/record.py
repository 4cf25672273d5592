"""What every benchmark records beside its figures: machine, versions, seeds, commit."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = Path(os.environ.get("LABELGEN_BENCHMARK_RESULTS") or HERE / "results")  # elsewhere for a mere try
PACKAGES = ("labelgen", "numpy", "scipy", "numba", "opencv-python", "scikit-image", "Pillow", "torch", "timm")


def write_result(name: str, rows: list[dict], *, seeds: list[int], packages: tuple[str, ...] = (), **facts) -> Path:
    """Write benchmarks/results/<name>.json: the rows of one table and where they come from."""
    document = {
        "benchmark": name,
        "machine": machine(),
        "versions": {p: version_of(p) for p in (*PACKAGES, *packages)} | {"python": platform.python_version()},
        "commit": commit(),
        "seeds": seeds,
        **facts,
        "rows": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine() -> str:
    """Processor, number of cores, system."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def version_of(package: str) -> str | None:
    """Installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """Short hash of the code that was measured, with a plus when the tree had changes."""
    try:
        changed = _git("status", "--porcelain", "-uno")
        return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True)
    return run.stdout.strip()
