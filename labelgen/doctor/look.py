"""Look at everything in the order in which it is told."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelgen.doctor import machine, packages
from labelgen.doctor.child import STEPS, try_steps
from labelgen.doctor.finding import Finding

__all__ = ["look_at_everything"]

Try = Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]]


def look_at_everything(try_in_child: Try = try_steps) -> list[Finding]:
    """All findings about this machine, this environment and the folder that one is in.

    Parameters
    ----------
    try_in_child
        Imports packages somewhere else; see `labelgen.doctor.child.try_steps`.
    """
    caches = machine.cache_folders()
    written = [Path("runs"), Path("cache"), caches["labelgen"], caches["hub, of timm and open_clip"]]
    owners = {folder: packages.owners_of(folder) for folder in packages.SHARED_FOLDERS}
    steps = try_in_child(list(STEPS))
    return [
        machine.look_at_python(),
        packages.look_at_packages(),
        machine.look_at_torch(steps),
        machine.look_at_gpu(steps),
        packages.look_at_imports(("numba", "cv2", "timm", "open_clip"), steps),
        *(packages.look_at_owners(folder, found, steps) for folder, found in owners.items()),
        packages.look_at_crf(owners["pydensecrf"], steps),
        machine.look_at_threads(steps),
        machine.look_at_caches(caches),
        machine.look_at_writing(written),
        machine.look_at_disk(written),
    ]
