import wave

import numpy as np
import pytest
import soundfile

from unroll.apps.speech import audio
from unroll.errors import UserError

SECOND = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32) / 2


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_any_format_and_rate_to_one_channel(tmp_path, suffix, rate):
    path = tmp_path / f"tone.{suffix}"
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32) / 2
    soundfile.write(path, np.stack([tone, np.zeros_like(tone)], 1), rate)
    samples = audio.read(path, 8000)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 8000) <= 1
    spectrum = np.abs(np.fft.rfft(samples[:8000]))
    assert spectrum.argmax() == 440
    assert np.abs(samples).max() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64", "caf"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_recording_that_was_cut_off_is_named(tmp_path, suffix, share):
    path = tmp_path / f"cut.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 80_000), 16000)
    assert abs(len(audio.read(path, 16000)) - 80_000) < 3000
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=rf"cut.{suffix}: is (truncated|not audio that can be read)"):
        audio.read(path, 16000)


def test_a_tenth_of_a_recording_is_refused_with_both_numbers(tmp_path):
    path = tmp_path / "tenth.wav"
    soundfile.write(path, SECOND, 16000)
    path.write_bytes(path.read_bytes()[:3200])
    with pytest.raises(UserError, match=r"tenth.wav: is truncated: holds 3,200 of the 32,044 bytes that it declares"):
        audio.read(path, 16000)


def test_a_stream_that_leaves_its_length_open_is_read(tmp_path):
    path = tmp_path / "piped.wav"
    soundfile.write(path, SECOND, 16000)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 4 + whole[8:40] + b"\xff" * 4 + whole[44:])
    assert len(audio.read(path, 16000)) == 16000


def made(tmp_path, kind):
    path = tmp_path / f"{kind}.wav"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a recording " * 100)
    elif kind == "cut":
        soundfile.write(path, SECOND, 16000)
        path.write_bytes(path.read_bytes()[:20])
    elif kind == "zero-length":
        soundfile.write(path, SECOND[:0], 16000)
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(16000) == 4000, np.nan, SECOND), 16000, subtype="FLOAT")
    elif kind == "infinite":
        soundfile.write(path, np.where(np.arange(16000) >= 8000, np.inf, SECOND), 16000, subtype="DOUBLE")
    elif kind == "fast":
        soundfile.write(path, SECOND, 2_000_000)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("missing", "no such file"),
        ("folder", "no such file"),
        ("empty", r"is empty \(0 bytes\)"),
        ("text", "is not audio that can be read"),
        ("cut", "is truncated: holds 20 of the 32,044 bytes"),
        ("zero-length", r"holds no samples \(zero-length audio\)"),
        ("nan", "holds 1 samples that are NaN or infinite, the first at 0.250 s"),
        ("infinite", "holds 8,000 samples that are NaN or infinite, the first at 0.500 s"),
        ("fast", "declares 2,000,000 samples per second"),
    ],
)
def test_bad_files_are_named_with_their_cause(tmp_path, kind, cause):
    path = made(tmp_path, kind)
    with pytest.raises(UserError, match=cause) as error:
        audio.read(path, 8000)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_too_long_by_its_header_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 1000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 1000 * 601))
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"long.wav: lasts 601 s by its header; cut it into pieces of 600 s"):
        audio.read(path, 8000)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32", "uint8"])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_in_memory_are_those_of_the_file(tmp_path, dtype, channels):
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.stack([SECOND] * channels, 1), 16000, subtype="PCM_U8" if dtype == "uint8" else "FLOAT")
    samples, rate = soundfile.read(path, dtype="float32")
    if dtype.startswith("int"):
        samples = np.round(samples * 2.0 ** (15 if dtype == "int16" else 31)).astype(dtype)
    if dtype == "uint8":
        samples = np.round(samples * 128 + 128).astype(np.uint8)
    given = (samples.astype(dtype), rate)
    assert audio.is_recording(given)
    assert audio.taken(given, 8000) == pytest.approx(audio.read(path, 8000), abs=1e-4)


def test_samples_in_lists_are_those_of_the_array():
    given = [SECOND.tolist(), 16000]
    assert audio.is_recording(given)
    assert audio.taken(given, 8000) == pytest.approx(audio.taken((SECOND, 16000), 8000))


@pytest.mark.parametrize(
    ("samples", "rate", "said"),
    [
        (np.zeros(0), 16000, "holds no samples"),
        (np.zeros((2, 16000)), 16000, r"16,000 channels; write samples as \[N, channels\]"),
        ([3, -2, 1], 16000, "integers of 64 bits, whose full scale nobody knows"),
        (SECOND * 32768, 16000, "full scale is 1: divide by it"),
        (np.array([0.0, np.nan]), 16000, "1 samples that are NaN or infinite, the first at 0.000 s"),
        (SECOND, 0, "declares 0 samples per second"),
        (SECOND, np.nan, "declares nan samples per second"),
        (np.broadcast_to(np.float32(0), 10_000_000), 16000, "lasts 625 s"),
    ],
)
def test_samples_that_cannot_be_are_one_line(samples, rate, said):
    with pytest.raises(UserError, match=f"^input 3: .*{said}"):
        audio.taken((samples, rate), 8000, "input 3")


@pytest.mark.parametrize("given", [SECOND, (SECOND,), (16000, SECOND), (SECOND, "16000"), ("a.wav", 16000), ()])
def test_what_is_no_recording(given):
    assert not audio.is_recording(given)
