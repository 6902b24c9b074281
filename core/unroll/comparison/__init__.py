"""Groups of runs side by side: who may be compared, what can be said of the differences, and how it is shown."""

__all__: list[str] = []  # its modules are imported by name
