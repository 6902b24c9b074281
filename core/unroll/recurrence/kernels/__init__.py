"""Fast ways to run a cell over a sequence, behind one dispatch; each has the loop over `step` as its oracle."""

__all__: list[str] = []  # its modules are imported by name
