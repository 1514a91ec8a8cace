"""Notebook 09_data_pruning."""
