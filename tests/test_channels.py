"""Channels: equal ones are enhanced once, calls each by itself, and a stereo image stays where it is."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import talk

from exdiff_cli.audio.channels import COHERENT, apply_mask, coherence, parts_of
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.spectral import SMALL

LENGTH = 131_072


def noise(seed: int, channels: int = 1) -> Samples:
    return (0.05 * np.random.default_rng(seed).standard_normal((channels, LENGTH))).astype(np.float32)


@pytest.fixture
def voice() -> Samples:
    """``(length,)``."""
    return talk(LENGTH / 16_000)[0]


def stereo(left: Samples, right: Samples) -> Samples:
    return np.stack([left, right]).astype(np.float32)


def parts(segment: Samples) -> list[tuple[int, ...]]:
    return [part.channels for part in parts_of(segment)]


def test_mono_is_one_part(voice: Samples) -> None:
    (part,) = parts_of(voice[None])
    assert part.channels == (0,)
    np.testing.assert_array_equal(part.signal, voice)


def test_equal_channels_are_enhanced_once(voice: Samples) -> None:
    silent = np.zeros_like(voice)
    surround = np.stack([voice, silent, voice, noise(1)[0], silent, silent])
    assert parts(surround) == [(0, 2), (1, 4, 5), (3,)]
    for part in parts_of(surround):
        np.testing.assert_array_equal(part.spread(-part.signal, surround), -surround[list(part.channels)])


def test_two_speakers_of_a_call_stay_apart(voice: Samples) -> None:
    other = voice[::-1] * 0.7
    assert coherence(stereo(voice, other)) < 0.2
    assert parts(stereo(voice + 0.03 * other, other + 0.03 * voice)) == [(0,), (1,)]
    assert parts(np.zeros((2, LENGTH), np.float32)) == [(0, 1)]
    assert parts(stereo(voice, 0 * voice)) == [(0,), (1,)]


@pytest.mark.parametrize("delay", [0, 8])
@pytest.mark.parametrize("level", [0.6, 1.0])
def test_one_voice_in_both_channels_is_an_image(voice: Samples, delay: int, level: float) -> None:
    first, second = noise(2, 2) * 0.2
    pair = stereo(voice + first, level * np.roll(voice, delay) + second)
    assert coherence(pair) > COHERENT
    assert parts(pair) == [(0, 1)]


def test_the_models_hear_the_sum_or_the_louder_where_that_would_cancel(voice: Samples) -> None:
    np.testing.assert_allclose(parts_of(stereo(voice, 0.5 * voice))[0].signal, 0.75 * voice, atol=1e-6)
    np.testing.assert_array_equal(parts_of(stereo(0.5 * voice, -voice))[0].signal, -voice)


def test_coherence_minds_neither_level_nor_silence(voice: Samples) -> None:
    pair = stereo(voice, 0.3 * voice)
    assert coherence(pair) == pytest.approx(1.0, abs=1e-3)
    assert coherence(1e-3 * pair) == pytest.approx(1.0, abs=1e-3)
    assert coherence(np.zeros((2, LENGTH), np.float32)) == 0.0


def test_a_mask_turns_all_channels_alike_and_keeps_the_image(voice: Samples) -> None:
    rows = stereo(voice + noise(3)[0], 0.5 * np.roll(voice, 5) + 0.5 * noise(3)[0])
    turned = apply_mask(rows, rows[0], 0.25 * rows[0])
    np.testing.assert_allclose(turned, 0.25 * rows, atol=1e-5)


def test_a_mask_that_would_blow_up_is_limited(voice: Samples) -> None:
    turned = apply_mask(voice[None], 1e-4 * voice, voice)
    assert np.abs(turned).max() <= 2.1 * np.abs(voice).max()
    assert np.isfinite(apply_mask(voice[None], 0 * voice, voice)).all()


def test_what_the_models_leave_leaves_both_channels(voice: Samples) -> None:
    """Noise that is alike in both goes from both, and the voice keeps its levels."""
    hiss = noise(4)[0]
    pair = stereo(voice + hiss, 0.5 * voice + hiss)
    (part,) = parts_of(pair)
    result = part.spread(0.75 * voice, pair)
    inside = slice(SMALL.n_fft, -SMALL.n_fft)
    for row, level in zip(result, (1.0, 0.5), strict=True):
        error = row[inside] - level * voice[inside]
        before = hiss[inside]
        assert 10 * np.log10(np.mean(error**2) / np.mean(before**2)) < -3
