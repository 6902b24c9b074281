"""Published files (`fetch`), prepared sets (`store`), how files are written and read (`files`); the user's own text
(`text`) and tables (`tables`)."""

__all__: list[str] = []  # its modules are imported by name
