"""Searching settings: the points of a grid, and sweeps with Optuna."""

__all__: list[str] = []  # its modules are imported by name
