"""Notebook 00_conventions."""
