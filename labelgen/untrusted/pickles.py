"""Whether a pickle may be handed to a restricted unpickler, which C code reads and which believes every number."""

import io
import pickletools

__all__ = ["check_pickle"]

PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


def check_pickle(stream: io.BytesIO) -> None:
    r"""Refuse the next pickle of a stream where it is malformed or would reserve memory that its bytes cannot fill.

    A pickle of six bytes may name place 4,294,967,295 of a table, for which Python reserves 64 GB. The stream is left
    where it was.

    Raises
    ------
    ValueError
        When it is so.

    Examples
    --------
    >>> check_pickle(io.BytesIO(b"N."))
    >>> check_pickle(io.BytesIO(b"Nr\xff\xff\xff\xff."))
    Traceback (most recent call last):
    ...
    ValueError: a pickle names place 4294967295 of a table that it does not fill
    """
    start, size = stream.tell(), stream.getbuffer().nbytes
    for opcode, value, _ in pickletools.genops(stream):
        if opcode.name in PUTS and int(value) > size:  # type: ignore[arg-type]
            raise ValueError(f"a pickle names place {value} of a table that it does not fill")
    stream.seek(start)
