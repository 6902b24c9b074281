"""One cell per file, found by the file's name: `invoke new-cell` puts them here. Each file sets `CELL = ItsClass`."""

__all__: list[str] = []  # its modules are imported by name
