"""The machine: Python, processor and threads, GPU, folders that must be writable, and disk."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labelgen.doctor.finding import OK, PROBLEM, WARNING, Finding

__all__ = [
    "cache_folders",
    "folder_size",
    "look_at_caches",
    "look_at_disk",
    "look_at_gpu",
    "look_at_python",
    "look_at_threads",
    "look_at_torch",
    "look_at_writing",
]

OLDEST = (3, 11)
LITTLE_DISK, NO_DISK = 5e9, 2e8  # bytes: a ViT-L checkpoint and its features; a demo run
DRIVERS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")
Steps = Mapping[str, Mapping[str, Any]]


def look_at_python() -> Finding:
    """Version and place of Python, and the system."""
    facts = {"version": platform.python_version(), "executable": sys.executable, "system": platform.platform()}
    said = f"{facts['version']} at {facts['executable']} on {facts['system']}"
    if sys.version_info[:2] < OLDEST:
        return Finding("python", PROBLEM, said, f"use Python {'.'.join(map(str, OLDEST))} or newer", facts)
    return Finding("python", OK, said, facts=facts)


def look_at_torch(steps: Steps) -> Finding:
    """Whether torch works, and torchvision with it: its operators are compiled for one version of torch."""
    torch, vision = steps["torch"], steps["torchvision"]
    pair = "pip install --force-reinstall torch torchvision, both from one index (https://pytorch.org lists them)"
    facts = {"torch": torch, "torchvision": vision}
    if "error" in torch:
        return Finding("torch", PROBLEM, f"torch cannot be imported: {torch['error']}", pair, facts)
    said = f"torch {torch['found']['version']}"
    if "error" in vision:
        return Finding("torch", PROBLEM, f"{said}, but torchvision fails with it: {vision['error']}", pair, facts)
    said += f" and torchvision {vision['found']['version']} work together"
    builds = {facts["found"]["version"].partition("+")[2] for facts in (torch, vision)}  # such as cu132 or cpu
    if len(builds) > 1:
        return Finding("torch", WARNING, f"{said}, but are different builds", pair, facts)
    return Finding("torch", OK, said, facts=facts)


def look_at_gpu(steps: Steps, drivers: Iterable[str] = DRIVERS) -> Finding:
    """Which GPUs torch can use."""
    gpu = steps["gpu"]
    if "error" in gpu:
        said = f"whether there is a GPU cannot be found out: {gpu['error']}"
        return Finding("gpu", WARNING, said, "mend torch first, or look at the driver: nvidia-smi", dict(gpu))
    facts = dict(gpu["found"])
    if facts["cuda"]:
        shown = ", ".join(f"{device['name']} ({device['gib']} GiB)" for device in facts["cuda"])
        return Finding("gpu", OK, shown, facts=facts)
    if facts["mps"]:
        return Finding("gpu", OK, "Apple GPU; --device mps uses it", facts=facts)
    if any(Path(driver).exists() for driver in drivers):
        said = "there is an NVIDIA GPU, but this torch cannot use it"
        return Finding("gpu", WARNING, said, "install torch built for CUDA, or a newer driver: nvidia-smi", facts)
    return Finding("gpu", OK, "none; networks run on the processor", facts=facts)


def look_at_threads(steps: Steps) -> Finding:
    """How many threads computations take."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    facts = {"cores": cores, "omp_num_threads": asked, "torch": steps["torch"].get("found", {}).get("threads")}
    said = f"{cores} cores" + (f", OMP_NUM_THREADS={asked}" if asked else "")
    said += f", torch takes {facts['torch']}" if facts["torch"] else ""
    if asked.isdecimal() and int(asked) > cores:
        return Finding("threads", WARNING, said, f"set OMP_NUM_THREADS to {cores} or less: more only wait", facts)
    return Finding("threads", OK, said, facts=facts)


def cache_folders() -> dict[str, Path]:
    """What keeps files on this machine, and where."""
    from labelgen.nets.user_cache import user_cache

    home = Path("~/.cache").expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME") or home)
    hub = Path(os.environ.get("HF_HOME") or shared / "huggingface") / "hub"
    return {
        "labelgen": user_cache(),
        "features and teachers (cache/)": Path("cache"),
        "runs/": Path("runs"),
        "probes/": Path("probes"),
        "hub, of timm and open_clip": Path(os.environ.get("HF_HUB_CACHE") or hub).expanduser(),
        "torch hub": Path(os.environ.get("TORCH_HOME") or shared / "torch").expanduser() / "hub",
        "open_clip, from OpenAI": home / "clip",
    }


def look_at_caches(folders: Mapping[str, Path]) -> Finding:
    """Where files are kept, and how large they are."""
    facts = {
        name: {"path": str(path.absolute()), "megabytes": round(folder_size(path) / 1e6, 1) if path.is_dir() else None}
        for name, path in folders.items()
    }
    sizes = {
        name: "not there" if row["megabytes"] is None else f"{row['megabytes']:,.1f} MB" for name, row in facts.items()
    }
    shown = [f"{name}: {row['path']} ({sizes[name]})" for name, row in facts.items()]
    return Finding("caches", OK, "; ".join(shown), facts=facts)


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed, what cannot be read counts nothing."""
    total, left = 0, [folder]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def look_at_writing(folders: Iterable[Path]) -> Finding:
    """Whether a file can be written into folders, or where they would be made; one is written and removed."""
    refused = {}
    for folder in folders:
        place = _place_of(folder)
        try:
            with tempfile.NamedTemporaryFile(dir=place, prefix=".labelgen-doctor-") as file:
                file.write(b"x")
        except OSError as error:
            refused[str(folder)] = f"{place}: {error.strerror or error}"
    facts = {"folders": [str(folder) for folder in folders], "refused": refused}
    if refused:
        said = "; ".join(f"{folder} cannot be written to ({why})" for folder, why in refused.items())
        advice = "work in a folder of your own; LABELGEN_CACHE moves the cache, --out the results"
        return Finding("writing", PROBLEM, said, advice, facts)
    return Finding("writing", OK, f"{', '.join(facts['folders'])} can be written to", facts=facts)


def look_at_disk(folders: Iterable[Path]) -> Finding:
    """How much room there is where files go."""
    free = {}
    for folder in folders:
        place = _place_of(folder)
        free[str(folder)] = shutil.disk_usage(place).free
    least = min(free.values())
    shown = ", ".join(f"{folder} {size / 1e9:,.1f} GB" for folder, size in free.items())
    facts = {"free_bytes": free}
    if least < LITTLE_DISK:
        advice = "remove what is not needed of the caches above, or give --out and --cache another disk"
        return Finding("disk", PROBLEM if least < NO_DISK else WARNING, f"free: {shown}", advice, facts)
    return Finding("disk", OK, f"free: {shown}", facts=facts)


def _place_of(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
