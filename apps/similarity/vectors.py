"""The user's word vectors: from their file into the prepared set, and from there into a fresh embedding."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unroll.data.arrays import read_arrays, write_arrays
from unroll.errors import UserError
from unroll.sequence.tokens import Tokeniser
from unroll.sequence.vectors import read_vectors

VECTORS = "vectors"
"""the array in a prepared set, and what the facts say of it"""


def write_vectors(
    folder: Path, path: Path, words: Collection[str], tokeniser: Tokeniser
) -> tuple[Tokeniser, dict[str, Any]]:
    """Write the vectors of the words into a prepared set.

    Args:
        folder: of the prepared set.
        path: the user's file, see `read_vectors`.
        words: of all splits.
        tokeniser: of the training split.

    Returns:
        a tokeniser that also knows the words outside the training split that have a vector; for the facts, the numbers
        of all words that have one, and the size of a vector.

    Raises:
        UserError: a file that cannot be used, or has none of the words.
    """
    found = read_vectors(path, {*words, *tokeniser.symbols})
    if not found.words:
        raise UserError(f"{path}: has none of the {len(words):,} words of the data; is it of another language?")
    write_arrays(folder, {VECTORS: found.rows})
    new = sorted(set(found.words) - set(tokeniser.symbols))
    known = Tokeniser("words", (*tokeniser.symbols, *new))
    numbers = [known.symbols.index(word) for word in found.words]
    return known, {"numbers": numbers, "dimension": found.rows.shape[1]}


def start_from(embedding: nn.Embedding, facts: dict[str, Any]) -> None:
    """Start the embedding from the vectors of the prepared set whose facts these are; without its folder, do nothing.

    A saved model is also rebuilt where its data were not prepared: its own weights are loaded next.
    """
    folder = Path(facts["folder"])
    if folder.is_dir():
        with torch.no_grad():
            embedding.weight[facts["numbers"]] = torch.from_numpy(read_arrays(folder)[VECTORS].copy())
