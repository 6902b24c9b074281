"""The training loop and what it is made of: everything that is the same for every application."""
