"""Searching settings: the points of a grid, and sweeps with Optuna."""
