"""The limiter: no true peak above full scale, nothing clipped, nothing touched that needs no gain."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import talk

from exdiff_cli.audio.limiter import AHEAD_SECONDS, Limiter
from exdiff_cli.audio.recording import Samples
from exdiff_cli.measures.true_peak import true_peaks

RATE = 16_000


def limit(samples: Samples, chunk: int = 1 << 30) -> tuple[Samples, int]:
    limiter = Limiter(RATE, len(samples))
    parts = [limiter.push(samples[:, start : start + chunk]) for start in range(0, samples.shape[1], chunk)]
    return np.concatenate([*parts, limiter.flush()], axis=1), limiter.limited


@pytest.mark.parametrize("gain", [0.1, 0.5, 1.0])
def test_what_fits_comes_out_bit_by_bit(gain: float) -> None:
    samples = (gain * talk(2.0, channels=2) / true_peaks(talk(2.0, channels=2)).max()).astype(np.float32)
    result, limited = limit(samples)
    np.testing.assert_array_equal(result, samples)
    assert limited == 0


@pytest.mark.parametrize("gain", [1.1, 3.0, 100.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_no_true_peak_exceeds_full_scale(gain: float, channels: int) -> None:
    samples = (gain * talk(2.0, channels=channels) / np.abs(talk(2.0, channels=channels)).max()).astype(np.float32)
    result, limited = limit(samples)
    assert result.shape == samples.shape
    assert 0.9 < true_peaks(result).max() <= 1.0 + 1e-3
    assert limited > 0


def test_a_peak_between_samples_counts() -> None:
    """A sine at a quarter of the rate whose samples all miss its crests."""
    samples = (1.2 * np.sin(np.pi / 2 * np.arange(2_000) + np.pi / 4))[None].astype(np.float32)
    assert np.abs(samples).max() < 1.0
    assert true_peaks(samples)[100:-100].max() == pytest.approx(1.2, abs=0.01)
    result, _ = limit(samples)
    assert true_peaks(result)[100:-100].max() == pytest.approx(1.0, abs=0.01)


def test_only_what_lies_around_a_peak_is_turned_down() -> None:
    samples = 0.4 * np.ones((1, RATE), np.float32)
    samples[0, 8_000] = 2.0
    result, limited = limit(samples)
    around = round(3 * AHEAD_SECONDS * RATE) + 20
    np.testing.assert_array_equal(result[:, : 8_000 - around], samples[:, : 8_000 - around])
    np.testing.assert_array_equal(result[:, 8_000 + around :], samples[:, 8_000 + around :])
    assert 0 < limited <= 2 * around
    gains = result[0] / samples[0]
    assert np.abs(np.diff(gains)).max() < 0.05  # a glide of milliseconds, no click
    assert result[0, 8_000] <= 1.0


def test_channels_are_turned_down_alike() -> None:
    samples = np.stack([3.0 * talk(1.0)[0], 0.1 * talk(1.0)[0]]).astype(np.float32)
    samples /= np.abs(samples).max() / 2
    result, _ = limit(samples)
    audible = np.abs(samples).min(axis=0) > 1e-3
    first, second = result[:, audible] / samples[:, audible]
    np.testing.assert_allclose(first, second, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 77, 1_000, 8_001])
def test_the_result_does_not_depend_on_how_it_is_fed(chunk: int) -> None:
    samples = (4.0 * talk(0.5, channels=2)).astype(np.float32)
    np.testing.assert_allclose(limit(samples, chunk)[0], limit(samples)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_short_streams(frames: int) -> None:
    samples = np.full((1, frames), 2.0, np.float32)
    result, _ = limit(samples)
    assert result.shape == samples.shape
    assert np.all(np.abs(result) <= 1.0)
