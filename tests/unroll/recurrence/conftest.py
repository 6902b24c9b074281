"""One thread for tiny tensors; which steps C has computed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from unroll.recurrence.kernels.cpu.step import Single

torch.set_num_threads(1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each step that C has computed."""
    made: list[int] = []
    run = Single.run

    def counted(self: Single, x: Tensor, *args: Any, **options: Any) -> Any:
        found = run(self, x, *args, **options)
        if found is not None:
            made.append(len(x))
        return found

    monkeypatch.setattr(Single, "run", counted)
    return made
