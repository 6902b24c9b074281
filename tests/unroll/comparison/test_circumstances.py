"""Notes on how runs were made: one per difference, none without differences."""

import pytest

from tests.unroll.comparison.made import logged
from unroll.comparison.circumstances import circumstances


def runs(**tags: list[str | None]):
    """One run for each value of the tags."""
    count = len(next(iter(tags.values())))
    rows = [{key: values[n] for key, values in tags.items() if values[n] is not None} for n in range(count)]
    return [
        logged(n, 1.0, tags={key.replace("_", "."): value for key, value in row.items()}) for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("tags", "notes"),
    [
        ({"device": ["cpu", "cpu"]}, []),
        ({"device": ["cpu", None]}, []),
        (
            {"device": ["cpu", "cpu", "cuda: NVIDIA H200"]},
            ["these runs were trained on 2 devices: cpu (2 runs); cuda: NVIDIA H200 (1 runs)"],
        ),
        (
            {"machine": ["EPYC, 2 cores", "Xeon, 4 cores"]},
            ["these runs were trained on 2 kinds of machine: EPYC, 2 cores (1 runs); Xeon, 4 cores (1 runs)"],
        ),
        ({"backends": ["lstm: fused", "gru: fused"]}, []),
        (
            {"backends": ["lstm: fused", "lstm: steps", "gru: fused, lstm: steps"]},
            [
                "these runs were computed by 3 sets of backends: fused (1 runs); "
                "steps (1 runs); fused and steps (1 runs)"
            ],
        ),
        ({"code_digest": ["a", "a"], "git_dirty": ["True", "True"]}, []),
        (
            {"code_digest": ["a", "a"], "git_dirty": ["True", "False"]},
            ["1 of 2 runs had changes that were not committed: their commit is not their code"],
        ),
        (
            {"code_digest": ["a", "b"], "git_dirty": ["True", "True"]},
            [
                "these runs were made by 2 versions of the code",
                "2 of 2 runs had changes that were not committed: their commit is not their code",
            ],
        ),
        (
            {"code_digest": ["a", "a"], "code_resumed": ["b", None]},
            [
                "these runs were made by 2 versions of the code",
                "1 of 2 runs were resumed with other code than they had begun with",
            ],
        ),
    ],
)
def test_notes(tags: dict[str, list[str | None]], notes: list[str]) -> None:
    assert circumstances(runs(**tags)) == notes
