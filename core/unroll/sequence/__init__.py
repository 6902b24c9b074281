"""What many applications share about sequences: batching, symbols, CTC, error rates."""
