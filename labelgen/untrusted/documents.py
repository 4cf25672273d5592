"""JSON, TOML and XML of strangers: bounded in size and depth, without entities, and with `ValueError` alone."""

import errno
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from labelgen.untrusted.limits import (
    DEEPEST_XML,
    LARGEST_DOCUMENT,
    LARGEST_TOML,
    LARGEST_XML,
    MOST_TOML_PARTS,
)

__all__ = ["parse_json", "parse_toml", "parse_xml", "read_bounded"]

CHUNK = 2**20  # bytes read at a time where a file does not say how many it has


def read_bounded(path: Path, largest: int = LARGEST_DOCUMENT) -> bytes:
    """The content of a file of at most so many bytes; no more than these are ever read.

    Raises
    ------
    OSError
        When it cannot be read, is larger, or its name is none.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size  # 0 of a pipe
            parts = [stream.read(size + 1)] if size <= largest else []
            length = len(parts[0]) if parts else size
            while length <= largest and parts[-1]:
                parts.append(stream.read(CHUNK))
                length += len(parts[-1])
    except ValueError as error:  # a null character in the name
        raise OSError(errno.EINVAL, str(error)) from error
    except MemoryError as error:
        raise OSError(errno.ENOMEM, "it needs more memory than there is") from error
    if length > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest:,} bytes")
    return parts[0] if len(parts) <= 2 else b"".join(parts)


def parse_json(content: bytes | str, *, largest: int = LARGEST_DOCUMENT) -> Any:
    """The value of JSON text.

    Raises
    ------
    ValueError
        When it is no JSON, is larger than `largest`, nested deeper than Python recurses, or needs more memory than
        there is.

    Examples
    --------
    >>> parse_json(b'{"a": [1]}')
    {'a': [1]}
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: it is nested too deeply
    """
    if len(content) > largest:
        raise ValueError(f"it has more than {largest:,} bytes")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except MemoryError:
        raise ValueError("it needs more memory than there is") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The table of TOML text.

    Raises
    ------
    ValueError
        When it is no TOML, is too large, nested too deeply, or has a key of very many parts, over which the standard
        library would take hours.

    Examples
    --------
    >>> parse_toml('classes = ["cat"]')
    {'classes': ['cat']}
    >>> parse_toml("a." * 5000 + "a = 1")
    Traceback (most recent call last):
    ...
    ValueError: line 1 has a key of more than 100 parts
    """
    if len(text) > LARGEST_TOML:
        raise ValueError(f"it has more than {LARGEST_TOML:,} characters")
    for number, line in enumerate(text.splitlines(), start=1):
        pieces = _NO_KEY.split(_STRING.sub("s", line).partition("#")[0])
        if max(piece.count(".") for piece in pieces) > MOST_TOML_PARTS:
            raise ValueError(f"line {number} has a key of more than {MOST_TOML_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except MemoryError:
        raise ValueError("it needs more memory than there is") from None


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')
_NO_KEY = re.compile(r"[^\w.\- \t]+")


def parse_xml(content: bytes) -> ElementTree.Element:
    """The root node of XML without document type: no entity is ever declared, expanded or fetched.

    Raises
    ------
    ValueError
        When it is no XML, is too large, too deep, or has a document type declaration.

    Examples
    --------
    >>> parse_xml(b"<a><b>1</b></a>").findtext("b")
    '1'
    >>> parse_xml(b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>')
    Traceback (most recent call last):
    ...
    ValueError: it must not declare a document type or entities
    """
    if len(content) > LARGEST_XML:
        raise ValueError(f"it has more than {LARGEST_XML:,} bytes")
    depth = 0

    def refuse(*_: object) -> None:
        raise ValueError("it must not declare a document type or entities")

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST_XML:
            raise ValueError(f"it has more than {DEEPEST_XML} nodes within each other")

    def leave(*_: object) -> None:
        nonlocal depth
        depth -= 1

    try:
        checker = expat.ParserCreate()
        checker.StartDoctypeDeclHandler = refuse
        checker.StartElementHandler, checker.EndElementHandler = enter, leave
        checker.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:  # an encoding that nobody knows
        raise ValueError(str(error)) from error
    except MemoryError:
        raise ValueError("it needs more memory than there is") from None
