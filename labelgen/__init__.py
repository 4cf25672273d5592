"""Imperfect segmentation labels: made, measured and repaired."""

__version__ = "0.1.0"
