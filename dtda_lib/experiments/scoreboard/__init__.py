"""Notebook 12_scoreboard."""
