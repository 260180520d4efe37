"""True peaks of signals whose crests are known, streamed in whatever chunks."""

from __future__ import annotations

import numpy as np
import pytest

from exdiff_cli.measures.true_peak import TruePeakMeter, true_peaks

RATE = 16_000


def peak(samples: np.ndarray, chunk: int = 1 << 30) -> float:
    meter = TruePeakMeter(len(samples))
    for start in range(0, samples.shape[1], chunk):
        meter.push(samples[:, start : start + chunk])
    return meter.result()


def test_a_crest_between_samples_is_found() -> None:
    sine = np.sin(2 * np.pi * np.arange(RATE) / 4 + np.pi / 4)[None]
    assert np.abs(sine).max() == pytest.approx(np.sqrt(0.5))
    assert peak(sine * np.hanning(RATE)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("chunk", [1, 7, 160, 5_000])
def test_chunks_do_not_matter(chunk: int) -> None:
    samples = np.random.default_rng(0).normal(size=(2, 6_000)) * np.linspace(0.1, 1, 6_000)
    assert peak(samples, chunk) == pytest.approx(peak(samples), rel=1e-6)
    assert peak(samples) == pytest.approx(true_peaks(np.pad(samples, ((0, 0), (0, 32)))).max(), rel=1e-6)


@pytest.mark.parametrize("place", [0, 1, 399])
def test_a_click_at_either_end_counts(place: int) -> None:
    click = np.zeros((1, 400))
    click[0, place] = -0.8
    assert peak(click, 50) == pytest.approx(0.8, abs=0.01)


def test_silence_has_none() -> None:
    assert peak(np.zeros((1, 100))) == 0
