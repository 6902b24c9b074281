"""Tokenisation of texts of any length: characters, words or byte-pair pieces, most frequent first.

Unlike `unroll.sequence.text.Vocabulary`, which is for short transcripts, this reads files piece by piece, has a symbol
for unknown words, and numbers the symbols by descending frequency, as adaptive softmax needs.
"""

import codecs
import io
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal, Self

import tokenizers

from unroll.errors import UserError

Units = Literal["characters", "words", "pieces"]
UNKNOWN, END = "<unk>", "<eos>"
BLOCK = 1 << 20
"""bytes read at a time"""
KINDS = {
    codecs.BOM_UTF16_LE: ("UTF-16 or UTF-32", "save it as UTF-8"),
    codecs.BOM_UTF16_BE: ("UTF-16", "save it as UTF-8"),
    b"\x1f\x8b": ("packed (gzip)", "unpack it first"),
    b"PK\x03\x04": ("a ZIP archive or an office document", "unpack it, or save it as text"),
    b"%PDF-": ("a PDF document", "save it as text"),
    b"{\\rtf": ("an RTF document", "save it as text"),
}
"""first bytes of files that users mistake for text: what they are, and what to do; the last two would pass as text"""
LONGEST_WORD = 100_000
"""most characters without a space that count as a word"""
CURE = "split it into characters"
"""what to do about a text without spaces, unless the application says it in its own terms"""


def read_blocks(path: Path) -> Iterator[str]:
    r"""The text of a UTF-8 file of any size, in pieces of at most a megabyte; a byte order mark is left out.

    Every line ends in \n, as in text mode: \r\n would add an easily predicted symbol per line.

    Raises:
        UserError: the file cannot be read, is empty, is packed or not text by its first bytes, holds a NUL byte, or is
            not UTF-8 (with the byte's offset).
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    begun = False
    offset = pending = 0
    try:
        with path.open("rb") as file:
            _refuse_kinds(path, file.peek())
            while True:
                block = file.read(BLOCK)
                _refuse_nul(path, block, offset)
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    at = offset - pending + error.start
                    raise UserError(f"{path}, byte {at:,}: is not UTF-8 ({error.reason}); convert it") from None
                if not begun:
                    text, begun = text.removeprefix("\ufeff"), bool(text)
                if not block:
                    yield from [text] if text else []  # the last line ends in \r
                    break
                offset += len(block)
                pending = len(decoder.getstate()[0])
                yield text
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if offset == 0:
        raise UserError(f"{path}: is empty; give it some text")


def _refuse_kinds(path: Path, block: bytes) -> None:
    for start, (kind, hint) in KINDS.items():
        if block.startswith(start):
            raise UserError(f"{path}: is {kind}, not UTF-8 text; {hint}")


def _refuse_nul(path: Path, block: bytes, offset: int) -> None:
    at = block.find(0)
    if at >= 0:
        raise UserError(f"{path}, byte {offset + at:,}: is a NUL byte, so it is not text; convert or remove it")


def whole_words(blocks: Iterable[str], name: str, cure: str = CURE) -> Iterator[str]:
    """The same text, cut between words only.

    Raises:
        UserError: gives `name` and the character after which there is no space for LONGEST_WORD characters.
    """
    left, done = "", 0
    for block in blocks:
        text = left + block
        cut = max(text.rfind(" "), text.rfind("\n"), text.rfind("\t")) + 1
        left = text[cut:]
        if len(left) > LONGEST_WORD:
            raise UserError(
                f"{name}, character {done + cut:,}: no space in the {LONGEST_WORD:,} characters that follow; "
                f"this is not a text of words: {cure}"
            )
        if cut:
            done += cut
            yield text[:cut]
    if left:
        yield left


@dataclass(frozen=True)
class Tokeniser:
    """Texts to numbers and back.

    Words are separated by spaces; the end of a line is the word `<eos>`. Pieces are from byte-level byte-pair encoding
    (Sennrich, Haddow and Birch 2016), by the library `tokenizers`: they can spell any text.
    """

    units: Units
    symbols: tuple[str, ...]
    """by number"""
    pieces: str = ""
    """units=pieces: the library's own JSON"""

    @classmethod
    def fit(cls, blocks: Iterable[str], units: Units, size: int, *, digits: bool = False) -> Self:
        """A tokeniser of a text's symbols, most frequent first, at most `size`.

        Characters and words beyond `size` become `<unk>`. For pieces, `size` is how many are learnt, and with `digits`
        each digit is a separate piece, so that numbers can be copied digit by digit.
        """
        if units == "pieces":
            return cls._fit_pieces(blocks, size, digits)
        counts: Counter[str] = Counter()
        for block in blocks:
            counts.update(block if units == "characters" else _words(block))
        counts.setdefault(UNKNOWN, 0)
        ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        kept = ranked[:size] if UNKNOWN in ranked[:size] else [*ranked[: size - 1], UNKNOWN]
        return cls(units, tuple(kept))

    @classmethod
    def _fit_pieces(cls, blocks: Iterable[str], size: int, digits: bool) -> Self:
        model: Any = tokenizers.ByteLevelBPETokenizer()
        if digits:
            before: list[Any] = [tokenizers.pre_tokenizers.Digits(individual_digits=True), model.pre_tokenizer]
            model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(before)
        model.train_from_iterator(blocks, vocab_size=size, min_frequency=2, show_progress=False)
        return cls("pieces", _pieces_by_number(model), model.to_str())

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def first(self) -> int:
        """The token assumed before a text: the end of a line."""
        return self._numbers.get(END if self.units == "words" else "Ċ" if self.units == "pieces" else "\n", 0)

    @property
    def unknown(self) -> int | None:
        """Number of `<unk>`; pieces have none."""
        return self._numbers.get(UNKNOWN) if self.units != "pieces" else None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; unknown symbols become `<unk>`."""
        if self.units == "pieces":
            return list(self._model.encode(text).ids)
        numbers, unknown = self._numbers, self._numbers[UNKNOWN]
        parts: Iterable[str] = text if self.units == "characters" else _words(text)
        return [numbers.get(part, unknown) for part in parts]

    def encode_blocks(self, blocks: Iterable[str], name: str, cure: str = CURE) -> Iterator[list[int]]:
        """Token ids of a text that is cut into blocks anywhere; raises UserError like `whole_words`."""
        yield from map(self.encode, self.recut(blocks, name, cure))

    def recut(self, blocks: Iterable[str], name: str, cure: str = CURE) -> Iterable[str]:
        """The same text in blocks that can be encoded one by one; raises UserError like `whole_words`."""
        return blocks if self.units == "characters" else whole_words(blocks, name, cure)

    def places(self, text: str, numbers: Sequence[int], characters: Sequence[int]) -> list[int]:
        """How many of a text's `numbers` come before each of some ascending places in it.

        A place is a character offset where a word or a line begins; a piece that spans it counts as before it.
        """
        if self.units == "characters":
            return list(characters)
        if self.units == "words":
            parts = (len(_words(text[start:end])) for start, end in pairwise((0, *characters)))
            return list(accumulate(parts))
        ends = list(accumulate(self.lengths[number] for number in numbers))
        return [bisect_left(ends, character) + (character > 0) for character in characters]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of `numbers`."""
        return "".join(self.stream(numbers))

    def stream(self, numbers: Iterable[int], *, fresh: bool = True) -> Iterator[str]:
        """The text of `numbers` as they arrive; a character made of several pieces is yielded with the last of them.

        `fresh`: whether this is the start of a line, where a word has no space before it.
        """
        if self.units == "characters":
            yield from (self.symbols[number] for number in numbers)
        elif self.units == "words":
            for number in numbers:
                symbol = self.symbols[number]
                yield "\n" if symbol == END else symbol if fresh else f" {symbol}"
                fresh = symbol == END
        else:
            yield from self._stream_pieces(numbers)

    def _stream_pieces(self, numbers: Iterable[int]) -> Iterator[str]:
        held: list[int] = []
        for number in numbers:
            held.append(number)
            text = str(self._model.decode(held))
            # U+FFFD marks an unfinished character, which has at most four bytes.
            if not text.endswith("\ufffd") or len(held) >= 4:
                yield text
                held = []
        if held:
            yield str(self._model.decode(held))

    def missing(self, text: str) -> list[str]:
        """The unknown symbols of `text`, in order, without duplicates."""
        if self.units == "pieces":
            return []
        parts: Iterable[str] = text if self.units == "characters" else _words(text)
        return [part for part in dict.fromkeys(parts) if part not in self._numbers]

    @cached_property
    def lengths(self) -> list[int]:
        """Characters of text per symbol, including its space or line end."""
        if self.units == "pieces":
            return [_starts(symbol) for symbol in self.symbols]
        return [1 if self.units == "characters" or symbol == END else len(symbol) + 1 for symbol in self.symbols]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        return {"units": self.units, "symbols": list(self.symbols), "pieces": self.pieces}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The tokeniser that `to_json` wrote."""
        return cls(values["units"], tuple(values["symbols"]), values["pieces"])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    @cached_property
    def _model(self) -> Any:
        return tokenizers.Tokenizer.from_str(self.pieces)


def _words(text: str) -> list[str]:
    """The words of a text; every line end is one."""
    return text.replace("\n", f" {END} ").split()


def _pieces_by_number(model: Any) -> tuple[str, ...]:
    numbers: dict[str, int] = json.loads(model.to_str())["model"]["vocab"]
    return tuple(sorted(numbers, key=numbers.__getitem__))


def _starts(piece: str) -> int:
    """Characters that begin in a byte-level piece. Bytes 0x80 to 0xbf (inside a character), which the encoding spells
    as other letters, do not count, so the sum over a text is its number of characters."""
    return sum(letter not in _CONTINUATION for letter in piece)


# The library spells printable bytes as themselves and the other 68, in order, as the letters from U+0100 on.
_CONTINUATION = frozenset(
    chr(0x122 + byte - 0x80) if byte <= 0xA0 else chr(0x143) if byte == 0xAD else chr(byte)
    for byte in range(0x80, 0xC0)
)
