"""Notebook 07_cold_posterior_transport."""
