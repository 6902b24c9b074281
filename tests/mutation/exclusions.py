"""What is excluded from the run, and why: changes that no test could or should detect. The run prints how many.

Whole files only if people look at their output; whole functions if they affect only speed, not results; everything else
line by line.
"""

import re
from typing import NamedTuple

from tests.mutation.operators import Mutant


class Exclusion(NamedTuple):
    """Mutants of the files that `path` matches, on lines that hold `line`, of kinds and in functions that match."""

    path: str
    reason: str
    line: str = ""
    kind: str = ".*"
    function: str = ".*"

    def covers(self, mutant: Mutant, line: str) -> bool:
        return (
            re.fullmatch(self.path, mutant.path) is not None
            and re.fullmatch(self.kind, mutant.kind) is not None
            and re.fullmatch(self.function, mutant.function) is not None
            and re.search(self.line, line) is not None
        )


KERNELS = "core/unroll/recurrence/kernels/"
CHOICE, SPEED, ROOM = "a choice, no computation", "how fast, not what", "a buffer may be larger than it must be"
EXCLUSIONS = (
    Exclusion(
        r"apps/\w+/figures\.py|core/unroll/diagnosis/pictures\.py",
        "what a picture looks like",
        function="(?!_relative|_share_from|looked|_by_place|_frequent|_title|_fits|scores|_pair|completions).*",
    ),
    Exclusion(
        r"core/unroll/comparison/charts\.py",
        "what a picture looks like",
        function="(?!verdict|_band|_ordered|_pairs).*",
    ),
    Exclusion(rf"{KERNELS}triton/\w+\.py", "runs on a GPU, or in a process of its own: test_triton.py"),
    Exclusion(rf"{KERNELS}dispatch\.py", "runs on a GPU, or in a process of its own: test_triton.py", "[Tt]riton"),
    Exclusion(rf"{KERNELS}dispatch\.py", "runs on a GPU, or in a process of its own: test_triton.py", "^ +continue$"),
    Exclusion(r"apps/\w+/(config|__init__)\.py", f"a default is {CHOICE}", kind="constant|flag"),
    Exclusion(
        r"apps/\w+/(model|classification|completion|denoising|forecasting)\.py",
        f"a default is {CHOICE}",
        r"^    (    )?\w+: (int|float|bool)( \| None)? = ",
        "constant|flag",
    ),
    Exclusion(r".*", f"how near is near: {CHOICE}", "get_close_matches", "constant"),
    Exclusion(r".*", "what a picture looks like", r"^\s*(axes|below|above|figure)\.\w+\("),
    Exclusion(r"core/unroll/recurrence/memory_tasks\.py", f"a default is {CHOICE}", r"^    \w+: int = ", "constant"),
    Exclusion(r".*", "a random number is never just that", r"random\(\) [<>]|rand\(.*\) [<>]", "comparison"),
    Exclusion(r".*", "a seed is any number", r"manual_seed\(|\bRandom\(|default_rng\(|seed \*", "constant|arithmetic"),
    Exclusion(r".*", "a seed is any number", r"^    seed: int = 0,$", "constant"),
    Exclusion(
        rf"{KERNELS}cpu/codegen_c\.py", f"what is computed again rather than read: {SPEED}", function="_again|_cost"
    ),
    Exclusion(
        r"core/unroll/recurrence/memory_tasks\.py",
        f"solved, it stops early: {SPEED}",
        r"step % 50|^ +break$",
        "comparison|boolean|constant|arithmetic|jump",
        "_train",
    ),
    Exclusion(rf"{KERNELS}cpu/native\.c", ROOM, r"^long \w+_size\(", "constant"),
    Exclusion(rf"{KERNELS}cpu/autograd\.py", ROOM, r"if run\.keep (and made\.over_u )?else 0", "constant"),
    Exclusion(
        rf"{KERNELS}cpu/native\.c", "nothing of a vector is stored either way", r"else if \(n > 0\) store", "comparison"
    ),
    Exclusion(
        rf"{KERNELS}cpu/native\.c",
        f"a whole vector is also a part of one: {SPEED}",
        r"n >= V \? load\(p\)",
        "comparison",
    ),
    Exclusion(rf"{KERNELS}plan\.py", f"what is computed again rather than read: {SPEED}", r"again = all\(", "extreme"),
    Exclusion(
        rf"{KERNELS}plan\.py",
        "a gradient that is one number for all is zero: added up, it changes nothing",
        "if gradient.width > 0",
        "comparison",
        "_Planner._accumulated",
    ),
    Exclusion(
        rf"{KERNELS}cpu/native\.c",
        f"another way to the same packed matrix: {SPEED}",
        r"if \(by_depth == 1 &&",
        "comparison",
    ),
    Exclusion(
        rf"{KERNELS}cpu/native\.c",
        "rows beyond the last are thrown away",
        r"s \* ROWS \+ i < m \? from",
        "constant",
    ),
    Exclusion(
        rf"{KERNELS}cpu/cpu_kernel\.py",
        "rows of one length may come in any order: a row alone is that row in a batch",
        r"argsort\(descending=True, stable=True\)",
        "flag",
    ),
    Exclusion(rf"{KERNELS}cpu/step\.py", f"frames that are used again: {SPEED}", r"frames\.append\(frame\)"),
    Exclusion(rf"{KERNELS}cpu/step\.py", f"one thread shares with nobody: {SPEED}", r"threads > 1", "comparison"),
    Exclusion(r"core/unroll/recurrence/one_step\.py", f"an output that nobody reads: {SPEED}", "output=False", "flag"),
    Exclusion(
        r"core/unroll/recurrence/lyapunov\.py",
        "a random start that does not count",
        r"j <= cell\.lengths",
        "comparison",
    ),
    Exclusion(r"core/unroll/recurrence/changes\.py", "what a place is called", r'f"\{path\}\." if path'),
    Exclusion(
        r"core/unroll/sequence/decoding\.py",
        f"a penalty of 1 does nothing: {SPEED}",
        "repetition_penalty > 1",
        "comparison",
    ),
    Exclusion(
        r"core/unroll/recurrence/conformance\.py", f"how many rows: {CHOICE}", r"for rows in \(1, 5\)", "constant"
    ),
    Exclusion(r"core/unroll/recurrence/conformance\.py", f"a default is {CHOICE}", r"^    \w+: int = ", "constant"),
    Exclusion(
        r"core/unroll/data/containers\.py",
        f"a file at its end goes on to be there: {SPEED}",
        r"^ +break$",
        "jump",
        "_chunks",
    ),
    Exclusion(
        r"core/unroll/data/mapped\.py",
        "in a process that dies of it: tests/survival/test_disturbed.py",
        function="_explain",
    ),
    Exclusion(
        r"core/unroll/recurrence/gates\.py", "that of TorchFunctionMode does nothing", r"super\(\)\.__init__\(\)"
    ),
    Exclusion(
        r"core/unroll/recurrence/gradients\.py", "a cell has no parts of its own", r"named_parameters\(recurse=False\)"
    ),
    Exclusion(
        r"apps/captioning/decoder\.py",
        f"all rows are selected where none is over: {SPEED}",
        r"rows < len\(hidden\[-1\]\)",
        "comparison",
    ),
    Exclusion(
        r"apps/recommend/sources/reading\.py",
        f"the slow way refuses the same row with the same words: {SPEED}",
        r"^ +self\._refuse_widths\(\)$",
        "statement",
    ),
    Exclusion(
        r"apps/similarity/sources/builtin\.py", "Dice's measure is symmetric", r"similarity\(a, b\)", "swapped", "_pair"
    ),
)


def why_excluded(mutant: Mutant, text: bytes) -> str | None:
    """The reason for which this one is left out."""
    begin = text.rfind(b"\n", 0, mutant.start) + 1
    line = text[begin : text.find(b"\n", mutant.end)].decode()
    return next((one.reason for one in EXCLUSIONS if one.covers(mutant, line)), None)
