"""Notebook 11_your_own_model."""
