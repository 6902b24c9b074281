"""The training loop and what it is made of: everything that is the same for every application."""

__all__: list[str] = []  # its modules are imported by name
