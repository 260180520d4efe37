"""Loudness against the standard and torchaudio, however it is cut."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torchaudio
from signals import chunks

from exdiff_cli.measures import Floats
from exdiff_cli.measures.loudness import LoudnessMeter, _k_weighting


def loudness(audio: Floats, rate: int) -> float | None:
    meter = LoudnessMeter(rate, len(audio))
    for chunk in chunks(audio):
        meter.push(chunk)
    return meter.integrated()


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_loudness_equals_torchaudio(rate: int, channels: int) -> None:
    rng = np.random.default_rng(rate + channels)
    gain = np.repeat([0.1, 0.0, 0.02, 0.001], 3 * rate // 2)  # the last part lies below the relative gate
    audio = (rng.normal(size=(channels, gain.size)) * gain).astype(np.float32)
    expected = torchaudio.functional.loudness(torch.from_numpy(audio), rate).item()
    assert loudness(audio, rate) == pytest.approx(expected, abs=0.1)


def tone(level: float, seconds: int, rate: int) -> Floats:
    mono = 10 ** (level / 20) * np.sin(2 * np.pi * 1000 * np.arange(seconds * rate) / rate)
    return np.stack([mono, mono])


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_loudness_of_the_ebu_test_tones(rate: int) -> None:
    # EBU Tech 3341, cases 1 and 3, whose tolerance is 0.1 LU: the quiet ends are gated out.
    assert loudness(tone(-23, 20, rate), rate) == pytest.approx(-23, abs=0.1)
    gated = [tone(-36, 10, rate), tone(-23, 60, rate), tone(-36, 10, rate)]
    assert loudness(np.concatenate(gated, axis=-1), rate) == pytest.approx(-23, abs=0.1)


def test_k_weighting_is_the_table_of_the_standard_at_48_khz() -> None:
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
    high_pass = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(_k_weighting(48_000), [shelf, high_pass], atol=1e-8)


def test_loudness_does_not_depend_on_the_chunks() -> None:
    audio = np.random.default_rng(0).normal(size=(2, 80_000)) * 0.1
    meter = LoudnessMeter(16_000, 2)
    meter.push(audio)
    assert meter.integrated() == pytest.approx(loudness(audio, 16_000), abs=1e-9)


@pytest.mark.parametrize("audio", [np.zeros((1, 48_000)), np.full((1, 6_000), 0.3), np.zeros((1, 0))])
def test_silence_and_moments_have_no_loudness(audio: Floats) -> None:
    meter = LoudnessMeter(16_000, 1)
    meter.push(audio)
    assert meter.integrated() is None


def test_the_subwoofer_of_5_1_does_not_count() -> None:
    audio = np.zeros((6, 32_000))
    audio[3] = np.random.default_rng(0).normal(size=32_000) * 0.1
    assert loudness(audio, 16_000) is None


def test_loudness_memory_does_not_grow() -> None:
    meter, sizes = LoudnessMeter(8_000, 1), []
    for _ in range(10):
        meter.push(np.random.default_rng(0).normal(size=(1, 24_000)))
        sizes.append(len(pickle.dumps(meter)))
    assert len(set(sizes)) == 1


def test_rates_below_the_filters_have_no_loudness() -> None:
    assert loudness(tone(-20, 2, 3_999)[:1], 3_999) is None
    assert loudness(tone(-20, 2, 4_000)[:1], 4_000) is not None
