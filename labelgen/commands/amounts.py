"""Times and sizes as people say them, and the lines of a plan that tell what it would cost."""

from labelgen.estimate import RunEstimate

__all__ = ["PER_PARAMETER", "cost_rows", "duration", "file_size"]

PER_PARAMETER = 12
"""Bytes that a training keeps at the most: a float32 weight, and in checkpoints two values of the optimiser beside."""


def duration(seconds: float) -> str:
    """A time as people say it.

    Examples
    --------
    >>> duration(3.4), duration(150.0), duration(86400.0)
    ('about 3 seconds', 'about 2.5 minutes', 'about 24.0 hours')
    """
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"about {seconds / size:,.1f} {unit}"
    return f"about {seconds:,.0f} seconds" if seconds >= 1 else "less than a second"


def file_size(count: float) -> str:
    """Bytes as people say them.

    Examples
    --------
    >>> file_size(900), file_size(2.5e6), file_size(3.21e10)
    ('less than 0.1 MB', 'about 2.5 MB', 'about 32.1 GB')
    """
    if count < 1e5:
        return "less than 0.1 MB"
    return f"about {count / 1e9:,.1f} GB" if count >= 1e9 else f"about {count / 1e6:,.1f} MB"


def cost_rows(cost: RunEstimate) -> list[tuple[str, str]]:
    """Rows about time and disk."""
    if not cost.images:
        return [("time", "nothing is left to do")]
    tried = f"{cost.timed} {'image' if cost.timed == 1 else 'images'} timed on this machine"
    rows = [("time", f"{duration(cost.seconds)} ({tried})"), ("disk", file_size(cost.bytes))]
    if cost.failed:
        rows.append(("warning", f"{cost.failed} of these {cost.timed} cannot be labelled"))
    return rows
