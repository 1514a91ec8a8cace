"""Notebook 08_evaluating_under_noise."""
