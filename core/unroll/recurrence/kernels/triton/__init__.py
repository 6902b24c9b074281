"""The same plan of a step as Triton, for GPUs."""
