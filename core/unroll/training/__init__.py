"""Training, tracking and comparison: everything that is the same for every application."""
