"""Settings of all tests of the recurrence: the same examples every time, no deadline, one thread for tiny tensors."""

import torch
from hypothesis import settings

settings.register_profile("recurrence", derandomize=True, deadline=None, database=None)
settings.load_profile("recurrence")
torch.set_num_threads(1)
