"""Baselines: everything the paper compares with, as predictors (not built yet)."""
