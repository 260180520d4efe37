"""Composite measures against figures of the published implementation."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.measures.composite import (
    composite,
    log_likelihood_ratios,
    segmental_snrs,
    weighted_slope_distances,
)


def test_distances_are_those_of_the_published_code() -> None:
    """Taken with pysepm-evo 0.1.1, a port of the paper's MATLAB code; it trims worst frames as composite does."""
    noisy, clean = read_mono(DATA / "noisy.wav"), read_mono(DATA / "clean.wav")
    slopes, ratios = weighted_slope_distances(noisy, clean), log_likelihood_ratios(noisy, clean)
    kept = round(len(slopes) * 0.95)
    assert len(slopes) == len(ratios)
    assert np.sort(slopes)[:kept].mean() == pytest.approx(55.73445, rel=1e-4)
    assert np.sort(ratios)[:kept].mean() == pytest.approx(1.327234, rel=1e-3)
    assert segmental_snrs(noisy, clean).mean() == pytest.approx(-5.500987, rel=1e-4)


def test_a_perfect_estimate_has_the_best_scores() -> None:
    clean = read_mono(DATA / "clean.wav")
    best = composite(clean, clean, 4.644)
    assert best is not None
    assert astuple(best) == pytest.approx((5.0, 5.0, 5.0))


def test_more_noise_is_worse_in_every_score() -> None:
    clean = read_mono(DATA / "clean.wav")
    noise = 0.02 * np.random.default_rng(0).normal(size=clean.size)
    ladder = [composite(clean + gain * noise, clean, 2.0) for gain in (0.1, 0.3, 1.0)]
    columns = zip(*(astuple(score) for score in ladder if score), strict=True)
    assert all(list(column) == sorted(column, reverse=True) and column[0] > column[-1] + 0.1 for column in columns)


@pytest.mark.filterwarnings("error")
def test_silence_moments_and_the_bounds() -> None:
    clean = read_mono(DATA / "clean.wav")
    worst = composite(np.random.default_rng(0).normal(size=clean.size), clean, 1.0)
    assert worst is not None
    assert all(1 <= value <= 5 for value in astuple(worst))
    muted = composite(np.zeros_like(clean), clean, 1.0)
    assert muted is not None
    assert np.isfinite(astuple(muted)).all()
    assert composite(clean[:600], clean[:600], 4.0) is None
