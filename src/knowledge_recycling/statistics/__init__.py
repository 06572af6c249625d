"""Estimates with 95% intervals; NumPy and SciPy alone."""
