"""The fused CPU path: C generated for a cell and compiled at first use, and its callers."""

__all__: list[str] = []  # its modules are imported by name
