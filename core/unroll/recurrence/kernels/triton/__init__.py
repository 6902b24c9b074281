"""The same plan of a step, generated as Triton for GPUs."""

__all__: list[str] = []  # its modules are imported by name
