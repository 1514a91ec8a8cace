"""Notebook 10_diffusion."""
