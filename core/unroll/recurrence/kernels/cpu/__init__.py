"""The fused CPU path: C that is made for a cell, compiled at its first use, and what calls it."""

__all__: list[str] = []  # its modules are imported by name
