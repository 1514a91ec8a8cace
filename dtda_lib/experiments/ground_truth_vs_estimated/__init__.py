"""Notebook 02_ground_truth_vs_estimated."""
