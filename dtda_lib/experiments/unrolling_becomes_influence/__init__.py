"""Notebook 06_unrolling_becomes_influence."""
