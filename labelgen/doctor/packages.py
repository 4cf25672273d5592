"""Packages: which there are, whether their versions will do, and which of them write into the same folder."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from labelgen.doctor.finding import OK, PROBLEM, WARNING, Finding

__all__ = ["SHARED_FOLDERS", "look_at_crf", "look_at_imports", "look_at_owners", "look_at_packages", "owners_of"]

PACKAGE = "labelgen"
SHARED_FOLDERS: Mapping[str, Sequence[str]] = {
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "pydensecrf": ("pydensecrf2", "pydensecrf"),
}
"""Import name to the packages that provide it, the one that this project asks for first."""

Steps = Mapping[str, Mapping[str, Any]]


def look_at_packages(requirements: Sequence[str] | None = None) -> Finding:
    """Whether everything that labelgen requires is installed in a version that will do.

    Parameters
    ----------
    requirements
        As in pyproject.toml. Default: those of the installed package.
    """
    if requirements is None:
        try:
            requirements = metadata.requires(PACKAGE) or ()
        except metadata.PackageNotFoundError:
            return Finding(
                "packages",
                WARNING,
                f"{PACKAGE} is run from a folder and is not installed, so what it requires is not known",
                "pip install -e . in its folder",
            )
    versions: dict[str, str | None] = {}
    missing, unfit = [], []
    for text in requirements:
        name, wanted, extra = _read_requirement(text)
        if extra:
            continue
        versions[name] = _version(name)
        if versions[name] is None:
            missing.append(name)
        elif not _fits(versions[name] or "", wanted):
            unfit.append(f"{name} {versions[name]} (needs {wanted})")
    facts = {"versions": versions, "missing": missing, "unfit": unfit}
    if missing or unfit:
        said = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unfit: {', '.join(unfit)}"] * bool(unfit)
        return Finding("packages", PROBLEM, "; ".join(said), f"pip install --upgrade {PACKAGE}", facts)
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding("packages", OK, shown, facts=facts)


def look_at_owners(folder: str, owners: Mapping[str, str], steps: Steps) -> Finding:
    """Whether one package alone provides an import name that several can, such as cv2.

    Parameters
    ----------
    owners
        Name of each package that holds files of that folder to its version, as `owners_of` gives it.
    steps
        What importing gave; see `labelgen.doctor.child`.
    """
    names, wanted = sorted(owners), SHARED_FOLDERS[folder][0]
    facts = {"folder": folder, "owners": dict(owners), **steps.get(folder, {})}
    shown = " and ".join(f"{name} {owners[name]}" for name in names)
    if len(names) > 1:
        broken = "error" in steps.get(folder, {})
        return Finding(
            folder,
            PROBLEM if broken or folder == "pydensecrf" else WARNING,
            f"{shown} write into the same folder {folder}/, so that files of one replace those of the other"
            + (f"; importing fails: {steps[folder]['error']}" if broken else ""),
            f"pip uninstall {' '.join(names)}, then pip install {wanted}",
            facts,
        )
    said = f"{shown} alone provides it" if names else "no package provides it"
    return Finding(folder, OK, said, facts=facts)


def look_at_crf(owners: Mapping[str, str], steps: Steps) -> Finding:
    """Which backends the dense CRF has."""
    own, other = steps["numba"], steps["pydensecrf"]
    works = {"labelgen": "error" not in own, "pydensecrf": "error" not in other}
    facts = {"backends": [name for name, fine in works.items() if fine], "packages": dict(owners)}
    if not works["labelgen"]:
        return Finding(
            "dense CRF",
            PROBLEM,
            f"numba does not work, and with it our own CRF: {own['error']}",
            "pip install --force-reinstall numba",
            facts,
        )
    if owners and not works["pydensecrf"]:
        return Finding(
            "dense CRF",
            WARNING,
            f"our own works; {' and '.join(owners)} is installed but fails: {other['error']}",
            "pip uninstall it, or leave backend=labelgen, which gives the same",
            facts,
        )
    more = " and pydensecrf" if works["pydensecrf"] else "; pydensecrf is not installed and not needed"
    return Finding("dense CRF", OK, f"our own{more}", facts=facts)


def look_at_imports(names: Iterable[str], steps: Steps) -> Finding:
    """Whether packages that are installed can also be imported."""
    failed = {name: steps[name]["error"] for name in names if "error" in steps[name]}
    if failed:
        said = "; ".join(f"{name}: {error}" for name, error in failed.items())
        return Finding(
            "imports", PROBLEM, said, f"pip install --force-reinstall {' '.join(failed)}", {"failed": failed}
        )
    return Finding("imports", OK, f"{', '.join(names)} can be imported", facts={"failed": {}})


def owners_of(folder: str, distributions: Iterable[metadata.Distribution] | None = None) -> dict[str, str]:
    """Packages that have files in a top-level folder, by their own lists of files, with their versions."""
    found = {}
    for distribution in distributions if distributions is not None else metadata.distributions():
        files = distribution.files or ()
        if any(file.parts[:1] == (folder,) for file in files):
            found[distribution.metadata["Name"]] = distribution.version
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _read_requirement(text: str) -> tuple[str, str, bool]:
    """Name, version specifier, and whether it is of an extra."""
    head, _, marker = text.partition(";")
    match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^)]*)\)?", head)
    assert match is not None  # metadata of an installed package
    return match[1], match[2].strip(), "extra" in marker


def _fits(version: str, wanted: str) -> bool:
    """Whether a version meets a specifier; where `packaging` is not installed nothing is said against it."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(wanted).contains(version, prereleases=True)
