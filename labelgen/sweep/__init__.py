"""Runs of one method over values of its settings, measured and put into one table."""
