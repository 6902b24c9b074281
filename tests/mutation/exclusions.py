"""What is left out of the run, with the reason: changes that no test could or should notice. The run prints how many.

A change that alters no result (speed, what is read twice) is listed one by one; whole files only where what they make
is looked at by people.
"""

import re
from typing import NamedTuple

from tests.mutation.operators import Mutant


class Exclusion(NamedTuple):
    """Mutants of the files that `path` matches, of kinds that `kind` matches, on lines that `line` matches."""

    path: str
    reason: str
    line: str = ""
    kind: str = ""

    def covers(self, mutant: Mutant, line: str) -> bool:
        return (
            re.fullmatch(self.path, mutant.path) is not None
            and re.fullmatch(self.kind or ".*", mutant.kind) is not None
            and re.search(self.line, line) is not None
        )


EXCLUSIONS = (
    Exclusion(r"apps/\w+/figures\.py|core/training/(pictures|charts)\.py", "what a picture looks like"),
    Exclusion(r"core/recurrence/kernels/triton_\w+\.py", "runs on a GPU only; tests/core/recurrence/test_triton.py"),
    Exclusion(r"apps/\w+/config\.py", "a default is a choice, no computation", kind="constant|flag"),
    Exclusion(r"apps/\w+/__init__\.py", "presets are choices, no computation", kind="constant|flag"),
    Exclusion(r".*", "a seed is any number", r"manual_seed|[Rr]andom\(|default_rng|seed \*", "constant|arithmetic"),
)


def why_excluded(mutant: Mutant, text: bytes) -> str | None:
    """The reason for which this one is left out."""
    begin = text.rfind(b"\n", 0, mutant.start) + 1
    line = text[begin : text.find(b"\n", mutant.end)].decode()
    return next((one.reason for one in EXCLUSIONS if one.covers(mutant, line)), None)
