"""Notebook 05_predicting_retrained_laws."""
