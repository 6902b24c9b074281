"""The gradient through time of a trained or a fresh model: probes, verdict, remedies and their trials."""

__all__: list[str] = []  # its modules are imported by name
