import numpy as np
import pytest

from unroll.apps.speech.perturb import MARGIN, add_noise, change_speed, perturb

TONE = np.sin(2 * np.pi * 500 * np.arange(8000) / 8000).astype(np.float32)


def test_speed_scales_length_and_pitch():
    faster = change_speed(TONE, 8000, 1.25)
    assert len(faster) == pytest.approx(6400, abs=2)
    peak = np.abs(np.fft.rfft(faster)).argmax() * 8000 / len(faster)
    assert peak == pytest.approx(625, abs=2)


@pytest.mark.parametrize("distance", [5, 20])
def test_noise_is_as_far_below_as_asked_for(distance):
    noise = add_noise(TONE, distance, np.random.default_rng(0)) - TONE
    assert 10 * np.log10(np.square(TONE).mean() / np.square(noise).mean()) == pytest.approx(distance, abs=0.1)


def test_noise_has_many_colours():
    def slope(seed):
        noise = add_noise(TONE, 0, np.random.default_rng(seed)) - TONE
        power = np.square(np.abs(np.fft.rfft(noise)))
        return np.log10(power[100:400].mean() / power[1600:].mean())

    slopes = [slope(seed) for seed in range(40)]
    assert min(slopes) < 0.3
    assert max(slopes) > 1.2


def test_a_version_is_a_function_of_its_random_numbers_and_says_what_was_done():
    one, done = perturb(TONE, 8000, np.random.default_rng(1))
    again, _ = perturb(TONE, 8000, np.random.default_rng(1))
    other, _ = perturb(TONE, 8000, np.random.default_rng(2))
    assert one.tobytes() == again.tobytes() != other.tobytes()
    speed = float(done.split()[1].rstrip(","))
    assert 8000 / speed - 50 < len(one) < 8000 / speed + 2 * MARGIN * 8000 + 50
