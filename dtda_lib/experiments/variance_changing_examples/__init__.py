"""Notebook 04_variance_changing_examples."""
