"""Names of files that a file gives: whether they stay where they are put."""

from pathlib import PurePosixPath

__all__ = ["is_plain_name"]

LONGEST_PART = 255  # bytes, of all common file systems
LONGEST_NAME = 1000  # characters


def is_plain_name(name: str) -> bool:
    r"""Whether a name stays where it is put.

    Examples
    --------
    >>> [is_plain_name(n) for n in ("a/b.png", "../b.png", "/b.png", "a/../../b", "C:/b", "a\\..\\b")]
    [True, False, False, False, False, False]
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or set(name) & set("\\:\0"):
        return False
    try:
        return max(len(part.encode()) for part in parts) <= LONGEST_PART and len(name) <= LONGEST_NAME
    except UnicodeEncodeError:  # half of a character, as broken JSON may have it
        return False
