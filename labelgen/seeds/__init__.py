"""Class activation maps as arrays: normalised, set against a background, read from and written to files."""
