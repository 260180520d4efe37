"""Levels of signals whose levels are known."""

from __future__ import annotations

import numpy as np
import pytest
from signals import chunks

from exdiff_cli.measures import SAMPLE_RATE, Floats
from exdiff_cli.measures.profile import Profile, ProfileMeter


def profile(audio: Floats, rate: int = SAMPLE_RATE) -> Profile:
    meter = ProfileMeter(rate)
    for chunk in chunks(audio):
        meter.push(chunk)
    return meter.result()


def test_profile_finds_floor_and_speech_level() -> None:
    rng = np.random.default_rng(0)
    gain = np.repeat([0.001, 0.1, 0.001, 0.1], SAMPLE_RATE)
    measured = profile(rng.normal(size=gain.size) * gain)
    assert measured.noise_floor_dbfs == pytest.approx(-60, abs=1)
    assert measured.speech_level_dbfs == pytest.approx(-20, abs=1)
    np.testing.assert_allclose(measured.energy, [1e-6, 1e-2, 1e-6, 1e-2], rtol=0.05)


def levels(measured: Profile) -> tuple[float, ...]:
    return (
        measured.noise_floor_dbfs,
        measured.speech_level_dbfs,
        measured.peak_dbfs,
        measured.clipped_share,
    )


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
def test_profile_does_not_depend_on_the_chunks(rate: int) -> None:
    audio = np.random.default_rng(0).normal(size=(2, int(3.7 * rate))) * 0.3
    meter = ProfileMeter(rate)
    meter.push(audio)
    whole, cut = meter.result(), profile(audio, rate)
    assert len(whole.energy) == 4
    np.testing.assert_allclose(whole.energy, cut.energy)
    assert levels(whole) == levels(cut)


def test_profile_counts_clipping_in_every_channel() -> None:
    audio = np.full((2, 1000), 0.5, dtype=np.float32)
    audio[1, :100] = -1.0
    measured = profile(audio)
    assert measured.clipped_share == pytest.approx(0.05)
    assert measured.peak_dbfs == 0.0
    assert profile(audio[:1]).clipped_share == 0.0
    assert profile(audio[:1]).peak_dbfs == pytest.approx(-6.02, abs=0.01)


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 16_000, 20_000])
def test_silence_and_moments_have_finite_levels(samples: int) -> None:
    meter = ProfileMeter()
    meter.push(np.zeros(samples, dtype=np.float32))
    measured = meter.result()
    assert levels(measured) == (-120.0, -120.0, -120.0, 0.0)
    assert len(measured.energy) == -(-samples // SAMPLE_RATE)
