"""Randomly damaged files: every reader returns a result or one line, quickly and in bounded memory.

`invoke test --slow` spends ten minutes on it (UNROLL_FUZZ_SECONDS); the default suite a moment for each reader.
"""

import gzip
import json
import os
import random
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.faults.corpus import picture, sound
from unroll import app as apps
from unroll.apps.recommend.sources import table as clicks
from unroll.apps.similarity.sources import own as pairs
from unroll.apps.speech import audio
from unroll.apps.translation.sources import own as texts
from unroll.apps.video import clips
from unroll.data import arrays, files, idx, images, tables
from unroll.errors import Notice, UserError
from unroll.recurrence import Recurrent, state
from unroll.sequence.tokens import read_blocks
from unroll.sequence.vectors import read_vectors
from unroll.training import checkpoint

SECONDS = float(os.environ.get("UNROLL_FUZZ_SECONDS", "600"))
HANG = 10
"""seconds of processor time in which a reader must have answered, however busy the machine is"""
GROWTH = 2 << 20
"""KiB by which the process may grow"""
NETWORK = Recurrent("lstm", 3, 4)

Reader = Callable[[Path], Any]


def written(write: Callable[[Path], Any], name: str) -> Callable[[Path], bytes]:
    """The bytes that `write` puts into a file of that name."""

    def make(folder: Path) -> bytes:
        write(folder / name)
        return (folder / name).read_bytes()

    return make


def constant(content: bytes | str) -> Callable[[Path], bytes]:
    return lambda _: content.encode() if isinstance(content, str) else content


def settings(path: Path) -> None:
    """Config parsing: each line is one `--set`."""
    text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    apps.load("speech").config("smoke", text.splitlines())


def film(path: Path) -> None:
    """Ten frames of MPEG-4."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for shade in range(0, 250, 25):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8))):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def tree() -> dict[str, Any]:
    return {"weights": torch.arange(6.0), "step": 3, "nested": {"list": [1, 2.5, None, "x"]}}


READERS: dict[str, tuple[Callable[[Path], bytes], str, Reader]] = {
    "settings": (constant("model.hidden=3\noptimizer.lr=1e-3\ndata.source=builtin\n"), "settings.txt", settings),
    "json": (constant(json.dumps(tree() | {"weights": [1, 2]})), "a.json", files.read_json),
    "jsonl": (constant('{"a": 1}\n{"b": [1, 2, "x"]}\n' * 5), "a.jsonl", lambda path: list(files.read_jsonl(path))),
    "arrays": (
        written(lambda path: np.save(path, np.arange(12.0).reshape(3, 4)), "a.npy"), "a.npy",
        lambda path: arrays.read_arrays(path.parent),
    ),
    "checkpoint": (written(lambda path: checkpoint.save(path, tree()), "c.st"), "c.st", checkpoint.load),
    "state": (
        written(lambda path: state.save(path, NETWORK.initial(2), NETWORK), "s.st"), "s.st",
        lambda path: state.load(path, NETWORK),
    ),
    "text": (constant("Zwölf Boxkämpfer jagen Viktor.\n" * 20), "a.txt", lambda path: list(read_blocks(path))),
    "vectors": (constant("2 3\nred 1 2 3\nblue 4 5 6\n"), "v.txt", lambda path: read_vectors(path, {"red", "blue"})),
    "pairs": (
        constant("a,b,score\n" + "".join(f"{n} dogs,two dogs,3.5\n" for n in range(9))), "p.csv",
        lambda path: list(pairs.source(path, pairs.COLUMNS, 0, 5).read()),
    ),
    "clicks": (constant("session,item,time\n" + "1,a,100\n1,b,200\n" * 9), "c.csv", clicks.histories),
    "log": (
        constant("user,movie,ts\n" + "1,a,2024-01-01 00:00:00 UTC\n1,b,2024-01-02 10:00:00 UTC\n" * 9), "c.csv",
        lambda path: clicks.source(path, None).read(),
    ),
    "quoted log": (
        constant('"user";"item";"time"\n' + '"1";"a";1700000000\n"2";"b";1700009000\n' * 9), "c.csv",
        lambda path: clicks.source(path, None).read(),
    ),
    "items": (
        constant('user,item,time,title,price\n1,a,100,"A, b",1.5\n2,NA,200,x,NA\n'), "i.csv",
        lambda path: clicks.source(path, path).table(),
    ),
    "lines": (constant("one\teins\ntwo\tzwei\nthree\tdrei\n"), "l.txt", texts.read_lines),
    "translations": (
        constant("".join(f"{n} dogs\t{n} Hunde\n" for n in range(9))), "t.tsv",
        lambda path: list(texts.table(path, ("en", "de")).read()),
    ),
    "objects": (
        constant("".join(f'{{"translation": {{"en": "{n} dogs", "de": "{n} Hunde"}}}}\n' for n in range(9))), "t.jsonl",
        lambda path: list(texts.table(path, ("en", "de")).read()),
    ),
    "quoted": (constant('a,b\n"x, y","say ""no"""\n"u\nv",w\n'), "q.csv", tables.read_table),
    "wide characters": (constant("a\tb\nx\ty\n".encode("utf-16")), "u.tsv", tables.read_table),
    "zipped": (constant(gzip.compress(b"one\teins\n" * 50, mtime=0)), "t.tsv.gz", texts.read_lines),
    "idx": (
        constant(gzip.compress(b"\0\0\x08\x03\0\0\0\x02\0\0\0\x04\0\0\0\x04" + bytes(32), mtime=0)), "i.gz",
        lambda path: idx.read(path, 3),
    ),
    "picture": (constant(picture()), "p.png", lambda path: images.pixels(images.load(path), (8, 8))),
    "sound": (constant(sound()), "s.wav", lambda path: audio.read(path, 8000)),
    "clip": (written(film, "c.mp4"), "c.mp4", lambda path: clips.read(path, 16, 1)),
}  # fmt: skip


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with bytes changed, cut out, repeated, put in or turned into others of their kind, or cut off."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at, length = chance.randrange(len(data) + 1), chance.choice([1, 1, 2, 4, 8, 64])
        match chance.randrange(6):
            case 0:
                data[at : at + length] = chance.randbytes(length)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length] * chance.choice([1, 3, 100])
            case 3:
                data[at:at] = chance.choice([b"\xff" * 4, b"\0" * 8, b"\n", b",", b"\t", b'"', b"{", b"9" * 30, b"-1"])
            case 4:
                data[at : at + 4] = chance.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**24]).to_bytes(4, "big")
            case _:
                del data[at:]
    return bytes(data)


def refusal(kind: str, read: Reader, path: Path) -> str | None:
    """What is said of a file that cannot be read. States are for programs and raise ValueError; all else UserError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)
            read(path)
    except (UserError, ValueError) as error:
        if isinstance(error, UserError) or (kind == "state" and type(error) is ValueError):
            return str(error)
        raise AssertionError(f"{kind}: {error!r} for {path.read_bytes()!r}") from error
    except BaseException as error:
        raise AssertionError(f"{kind}: {error!r} for {path.read_bytes()!r}") from error
    return None


def attack(kind: str, folder: Path, seconds: float, chance: random.Random) -> int:
    """Damaged files for one reader, for so long, but ten at least; how many."""
    make, name, read = READERS[kind]
    good = make(folder)
    path = folder / name
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, count = time.monotonic(), 0
    while time.monotonic() - begun < seconds or count < 10:
        bad = damaged(good, chance)
        path.write_bytes(bad)
        count, started = count + 1, time.process_time()
        said = refusal(kind, read, path)
        assert said is None or (said.strip() and "\n" not in said), (bad, said)
        assert time.process_time() - started < HANG, bad
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
    return count


@pytest.mark.parametrize("kind", READERS)
def test_the_undamaged_file_is_read(kind: str, tmp_path: Path) -> None:
    make, name, read = READERS[kind]
    (tmp_path / name).write_bytes(make(tmp_path))
    read(tmp_path / name)


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_is_one_line(kind: str, tmp_path: Path) -> None:
    assert attack(kind, tmp_path, 0.5, random.Random(0)) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_for_minutes(kind: str, tmp_path: Path) -> None:
    print(kind, attack(kind, tmp_path, SECONDS / len(READERS), random.Random()))
