"""Refuse to write or remove through a link within a run folder, which a stranger's run may hold."""

from pathlib import Path

from labelgen.errors import RunFolderError

__all__ = ["LinkGuard", "refuse_link"]


def refuse_link(path: Path) -> None:
    """Refuse a folder within a run that is a link.

    Raises
    ------
    RunFolderError
        When it is one.
    """
    if path.is_symlink() or _is_junction(path):
        raise RunFolderError(
            f"folders within a run must lie in it, but {path} is a link",
            hint="make the run folder itself the link, or give another --out",
        )


def _is_junction(path: Path) -> bool:
    """The links of Windows, which Python asks for since 3.12."""
    return getattr(path, "is_junction", lambda: False)()


class LinkGuard:
    """Checks the folders between a run folder and its files, each of them once.

    Parameters
    ----------
    folder
        The run folder, which may be a link itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked = {folder}

    def check(self, path: Path) -> None:
        """Refuse a file below the folder that lies behind a link.

        Raises
        ------
        RunFolderError
            Naming the link.
        """
        parent = path.parent
        if parent in self._checked:
            return
        self.check(parent)
        refuse_link(parent)
        self._checked.add(parent)
