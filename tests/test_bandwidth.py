"""Bandwidth of noise whose band is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from exdiff_cli.measures.bandwidth import FRAME, BandwidthMeter


def bandwidth(samples: np.ndarray, rate: int, chunk: int = 1 << 30) -> float | None:
    meter = BandwidthMeter(rate, len(samples))
    for start in range(0, samples.shape[1], chunk):
        meter.push(samples[:, start : start + chunk])
    return meter.result()


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("limit", [3_400, 6_000])
def test_the_end_of_the_band_is_found(rate: int, limit: int) -> None:
    hiss = np.random.default_rng(0).normal(size=(1, 4 * rate))
    found = bandwidth(sosfilt(butter(16, limit, fs=rate, output="sos"), hiss), rate)
    assert found is not None
    assert limit < found < min(2.0 * limit, rate / 2)


def test_hiss_goes_to_the_end() -> None:
    assert bandwidth(np.random.default_rng(0).normal(size=(1, 40_000)), 8_000) == 4_000


def test_a_channel_alone_and_opposite_channels_count() -> None:
    hiss = np.random.default_rng(0).normal(size=40_000)
    assert bandwidth(np.stack([0 * hiss, hiss]), 16_000) == 8_000
    assert bandwidth(np.stack([-hiss, hiss]), 16_000) == 8_000


def test_chunks_do_not_matter() -> None:
    samples = np.random.default_rng(0).normal(size=(2, 10_000))
    assert bandwidth(samples, 16_000, 333) == bandwidth(samples, 16_000)


@pytest.mark.parametrize("frames", [0, FRAME - 1, 3 * FRAME])
def test_silence_and_less_than_a_frame_have_none(frames: int) -> None:
    assert bandwidth(np.zeros((1, frames)), 16_000) is None
