"""Draws the splits missing from the user's data from train, by hash, independently of the order of the examples."""

from collections.abc import Hashable, Iterator, Sequence

from unroll.data.source import SPLITS, Split, by_hash

SHARE = 0.1
"""fraction of the training examples that become val, and as many test"""


def completed(
    splits: Sequence[Split], groups: Sequence[Hashable], names: Sequence[str], share: float = SHARE
) -> list[Split]:
    """The splits of examples, with missing splits drawn from train.

    Groups stay together: those whose names have the smallest hashes are drawn, except those too large for the share.

    Args:
        splits: of each example; train if not specified.
        groups: of each example.
        names: of each example, for the hashes.
        share: fraction of train that each missing split gets, at least one example.
    """
    if not (lacking := _missing(splits)):
        return list(splits)
    members: dict[Hashable, list[int]] = {}
    for row, split in enumerate(splits):
        if split == "train":
            members.setdefault(groups[row], []).append(row)
    wanted = max(1, round(share * sum(map(len, members.values()))))
    ranked = sorted(members.values(), key=lambda rows: min(by_hash(names[row]) for row in rows))
    result = list(splits)
    for missing in lacking:
        room = wanted
        for rows in [rows for rows in ranked if result[rows[0]] == "train"]:
            if len(rows) <= room:
                room -= len(rows)
                for row in rows:
                    result[row] = missing
    return result


def drawn(before: Sequence[Split], after: Sequence[Split]) -> Iterator[str]:
    """A note on the splits that were drawn; nothing if there are none."""
    found = [f"{split} ({after.count(split):,})" for split in reversed(_missing(before)) if split in after]
    if found:
        yield f"the data have no such split: {' and '.join(found)} drawn from train"


def _missing(splits: Sequence[Split]) -> list[Split]:
    return [split for split in SPLITS[:0:-1] if split not in splits]
