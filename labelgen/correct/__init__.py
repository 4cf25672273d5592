"""Correction of labels while something is trained on them: pure functions on arrays."""
