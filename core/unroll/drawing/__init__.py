"""Drawing figures and writing report pages, for all packages."""

__all__: list[str] = []  # its modules are imported by name
