import librosa
import numpy as np
import pytest

from unroll.apps.speech.features import FLOOR, TYPICAL, LogMel

NOISE = np.random.default_rng(0).standard_normal(8000 * 60).astype(np.float32) / 10


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_agrees_with_librosa(rate):
    features = LogMel(rate, 40, level=False)
    frames = features(NOISE)
    size = 1 << (features.window - 1).bit_length()
    expected = librosa.feature.melspectrogram(
        y=NOISE,
        sr=rate,
        n_fft=size,
        win_length=features.window,
        hop_length=features.hop,
        n_mels=40,
        fmin=50.0,
        center=False,
    )
    # librosa's first frame begins half of the transform's zeros earlier than ours.
    count = expected.shape[1] - 2
    shift = (size - features.window) // 2
    shifted = features(NOISE[shift:])[:count]
    np.testing.assert_allclose(shifted, np.log(expected / TYPICAL + FLOOR).T[:count], rtol=1e-4, atol=1e-4)
    assert frames.shape == (1 + (len(NOISE) - features.window) // features.hop, 40)


def test_a_recording_in_pieces_gives_the_frames_of_the_whole():
    features = LogMel(level=False)
    whole = features(NOISE[:8000])
    overlap = features.window - features.hop
    first, second = features(NOISE[: 4000 + overlap]), features(NOISE[4000:8000])
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 199, 200, 201])
def test_the_shortest_recordings_give_one_frame(count):
    assert LogMel()(NOISE[:count]).shape == (1, 40)


def test_silence_is_finite():
    assert np.isfinite(LogMel()(np.zeros(800, np.float32))).all()


def test_how_loud_a_recording_is_does_not_matter():
    speech, loud, faint = NOISE[:8000], 5 * NOISE[:8000], NOISE[:8000] / 50
    np.testing.assert_allclose(LogMel()(loud), LogMel()(speech), atol=1e-3)
    np.testing.assert_allclose(LogMel()(faint), LogMel()(speech), atol=0.02)
    assert np.abs(LogMel(level=False)(loud) - LogMel(level=False)(speech)).mean() > 1
    assert LogMel()(NOISE[:8000] * 1e-6).max() < LogMel()(speech).min()  # silence is not made loud
