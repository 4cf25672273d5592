"""Runs of one method over values of its settings, measured and put into one table."""

from labelgen.sweep.plan import DEFAULT_SWEEPS, SweepPoint, plan_sweep, split_values
from labelgen.sweep.table import MEASURES, means_of, row_of

__all__ = ["DEFAULT_SWEEPS", "MEASURES", "SweepPoint", "means_of", "plan_sweep", "row_of", "split_values"]
