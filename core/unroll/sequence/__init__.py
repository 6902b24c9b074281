"""What many applications share about sequences: batching, symbols, CTC, error rates."""

__all__: list[str] = []  # its modules are imported by name
