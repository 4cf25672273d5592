"""Results kept in memory up to a limit; what has not been asked for the longest goes first and is made again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["Memory"]


class Memory:
    """Keeps what was made, as long as there is room.

    Parameters
    ----------
    limit
        Bytes.

    Examples
    --------
    >>> memory = Memory(limit=8)
    >>> memory.get("a", lambda: b"1234", size=len), memory.get("a", lambda: b"other", size=len)
    (b'1234', b'1234')
    >>> memory.get("b", lambda: b"56789", size=len), memory.get("a", lambda: b"new", size=len)
    (b'56789', b'new')
    """

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any], *, size: Callable[[Any], int]) -> Any:
        """What is kept under `key`, or what `make` makes, kept from now on; `size` gives its bytes."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        made = make()
        self._kept[key] = made, size(made)
        self.held += self._kept[key][1]
        while self.held > self.limit and self._kept:
            self.held -= self._kept.popitem(last=False)[1][1]
        return made
