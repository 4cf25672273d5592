"""Folder for results that can be computed again: yours, not the project's."""

import os
import sys
from pathlib import Path

__all__ = ["user_cache"]


def user_cache(*parts: str) -> Path:
    r"""Path inside labelgen's cache folder, which need not exist.

    It is `$LABELGEN_CACHE`, else `$XDG_CACHE_HOME/labelgen`, else what the system uses: `~/Library/Caches/labelgen`
    on macOS, `%LOCALAPPDATA%\labelgen\Cache` on Windows, `~/.cache/labelgen` elsewhere.

    Parameters
    ----------
    parts
        Names of folders inside it.
    """
    return _root().joinpath(*parts)


def _root() -> Path:
    if chosen := os.environ.get("LABELGEN_CACHE"):
        return Path(chosen).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "labelgen"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "labelgen"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "labelgen" / "Cache"
    return Path.home() / ".cache" / "labelgen"
