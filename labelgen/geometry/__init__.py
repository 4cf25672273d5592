"""Kernels on regions, skeletons and polylines. Arrays in, arrays out; coordinates are (row, col)."""
