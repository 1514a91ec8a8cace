"""Estimators of what a training point does to a measurement: one file a family, one registry."""
