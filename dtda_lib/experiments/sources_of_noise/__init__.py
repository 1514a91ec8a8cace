"""Notebook 03_sources_of_noise."""
