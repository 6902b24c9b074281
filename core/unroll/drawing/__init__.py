"""How pictures are drawn and pages are made, for whoever shows something."""

__all__: list[str] = []  # its modules are imported by name
