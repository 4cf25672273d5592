"""Errors a user can cause, each with the sentence that helps to mend it."""

__all__ = [
    "ConfigError",
    "DataError",
    "LabelgenError",
    "RunFolderError",
    "ShapeError",
    "SplitError",
    "VocabularyError",
    "WeightsError",
]


class LabelgenError(Exception):
    """Base of every error that the user, not a bug, causes.

    Parameters
    ----------
    message
        What must hold, what was got and where.
    hint
        What to do about it; printed on a second line. May be empty.

    Examples
    --------
    >>> error = ConfigError("shrink must lie in [0, 1], got 2.0", hint="0.5 removes half of each stroke")
    >>> str(error), error.hint
    ('shrink must lie in [0, 1], got 2.0', '0.5 removes half of each stroke')
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self):
        """Keep the keyword-only hint when the error crosses a process border."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type["LabelgenError"], message: str, hint: str) -> "LabelgenError":
    return kind(message, hint=hint)


class ConfigError(LabelgenError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class DataError(LabelgenError, ValueError):
    """One image, mask or data set cannot be used; the runner records it and goes on."""


class ShapeError(DataError):
    """An array has another shape or dtype than its place demands."""


class SplitError(DataError):
    """A data set has no split of the wanted name."""


class VocabularyError(LabelgenError, ValueError):
    """A vocabulary is unknown or inconsistent."""


class RunFolderError(LabelgenError):
    """A run folder, cache or probe on disk is missing, foreign, stale or damaged."""


class WeightsError(LabelgenError):
    """Model weights are missing or do not fit the architecture."""
