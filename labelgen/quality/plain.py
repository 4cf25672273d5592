"""Figures as plain JSON values."""

import math
from typing import Any

import numpy as np

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Plain Python numbers, also within dicts and lists; None for what is no finite number.

    Examples
    --------
    >>> plain({"miou": np.float64(0.5), "classes": [float("nan"), np.int64(3)]})
    {'miou': 0.5, 'classes': [None, 3]}
    """
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
