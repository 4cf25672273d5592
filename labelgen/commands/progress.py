"""Progress on stderr: a bar on a terminal, a plain line every few percent elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator

from labelgen.run import Progress

__all__ = ["progress_bar"]

LINES = 20  # plain lines for a whole run: one every 5 %
PATIENCE = 2.0  # seconds that a run may take without saying anything where there is no terminal


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Give a function `progress(done, total, note)` that shows how far something is.

    Examples
    --------
    >>> with progress_bar("scribble") as progress:
    ...     progress(1, 2, "")
    """
    if not sys.stderr.isatty():
        yield _PlainLines(label)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[note]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, note="", speed="")
        start = _Speed()

        def show(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note, speed=start.text(done))

        yield show


class _Speed:
    """Items per second since the first report, or since the count began anew, as it does when features are done."""

    def __init__(self) -> None:
        self.begin = self.start = self.seen = time.monotonic()
        self.first: int | None = None
        self.last = 0

    def text(self, done: int) -> str:
        if self.first is None or done < self.last:
            self.first, self.start = done - 1, self.seen
        self.last, self.seen = done, time.monotonic()
        return f"{(done - self.first) / max(self.seen - self.start, 1e-6):.1f}/s"


class _PlainLines:
    """A line every few percent, but none for what is over in a moment."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.speed = _Speed()
        self.shown = 0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        step = done * LINES // max(total, 1)
        speed = self.speed.text(done)
        if step == self.shown or time.monotonic() - self.speed.begin < PATIENCE:
            return
        self.shown = step
        line = f"{self.label}: {100 * done // max(total, 1)} % ({done}/{total}) {speed} {note}"
        print(line.rstrip(), file=sys.stderr, flush=True)  # noqa: T201
