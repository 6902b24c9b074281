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
