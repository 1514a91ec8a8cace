"""Notebook 01_noise_vs_influence."""
