"""Truncated files are detected by their declared size; complete ones never are."""

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unroll.data.containers import declared_size, lacking

av = pytest.importorskip("av")


def film(path: Path, format: str, **options: str) -> Path:
    """Twenty frames of MPEG-4, or of what the container takes."""
    with av.open(str(path), "w", format=format, options=options) as container:
        stream: Any = container.add_stream("wmv2" if format == "asf" else "mpeg4", rate=10)
        stream.width = stream.height = 32
        for shade in range(20):
            picture = np.random.default_rng(shade).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def sound(path: Path, format: str) -> Path:
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 8000), 8000, format=format)
    return path


FILMS = {
    "mp4": {},
    "mov": {},
    "matroska": {},
    "webm": None,
    "avi": {},
    "asf": {},
    "mp4 fast": {"movflags": "faststart"},
}
SOUNDS = ("WAV", "AIFF", "AU", "WAVEX", "W64", "RF64")


@pytest.mark.parametrize("kind", [kind for kind, options in FILMS.items() if options is not None])
def test_films_whole_and_cut(tmp_path: Path, kind: str) -> None:
    path = film(tmp_path / "film", kind.split()[0], **(FILMS[kind] or {}))
    whole = path.read_bytes()
    assert lacking(path) is None and declared_size(path) == len(whole)
    path.write_bytes(whole + b"\0" * 300)  # what some tools append
    assert lacking(path) is None
    if kind.startswith(("mp4", "mov")):  # a box behind what is none is none of the film's
        path.write_bytes(whole + bytes(8) + (1000).to_bytes(4, "big") + b"free")
        assert declared_size(path) == len(whole)
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        said = lacking(path)
        assert said is not None and said.startswith(f"is truncated: holds {int(share * len(whole)):,} of the "), share


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds_whole_and_cut(tmp_path: Path, kind: str) -> None:
    path = sound(tmp_path / "sound", kind)
    whole = path.read_bytes()
    assert lacking(path) is None
    path.write_bytes(whole[: len(whole) // 10])
    said = lacking(path)
    if kind == "RF64":  # its size of 32 bits is left open
        assert said is None
    else:
        assert said is not None and f"holds {len(whole) // 10:,} of the 16," in said


def wav(size: int, held: int = 8000) -> bytes:
    """A WAV that declares `size` bytes of sound and holds others."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\1\2" * (held // 2))
    content = file.getvalue()
    return content[:40] + size.to_bytes(4, "little") + content[44:]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_ends_with_a_page(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 64000), 16000, format="OGG", subtype=subtype)
    whole = path.read_bytes()
    assert lacking(path) is None
    for length in (len(whole) // 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert lacking(path) == "is truncated: ends within a page"


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFFFFF, 0x7FFFF000, 0, 8000, 8044, 7000])
def test_a_size_left_open_or_a_header_counted_twice_convicts_nobody(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(size))
    assert lacking(path) is None


def test_a_matroska_of_unknown_size_convicts_nobody(tmp_path: Path) -> None:
    path = film(tmp_path / "live", "matroska", live="1")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert declared_size(path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"R", b"RIFF", b"RIFF\1\0\0\0", b"FORM" + bytes(8), b"\x1a\x45\xdf\xa3",
     b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67",
     b"\0\0\0\1ftyp\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\0\0ftyp", b"\0\0\0\3ftypmoov", b".snd", b"text" * 50,
     b"\0\0\0\x08ftyp" * 1000, b"RIFF\xff\xff\xff\x00WAVE" + b"data" * 2],
)  # fmt: skip
def test_headers_of_all_kinds_end_soon(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    said = lacking(path)
    assert said is None or said.startswith("is truncated: holds")
