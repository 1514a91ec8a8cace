"""What is asked of scores and laws once runs are done: NumPy and xarray alone, no torch."""
