"""DNSMOS against its published implementation, and the choice of windows."""

from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from signals import noisy, voiced

from exdiff_cli.errors import UsageError
from exdiff_cli.measures import SAMPLE_RATE, Floats
from exdiff_cli.measures.dnsmos import (
    WINDOW_SAMPLES,
    Dnsmos,
    DnsmosScore,
    choose_windows,
    dnsmos_reference,
    fill_window,
)


class CountingDnsmos(Dnsmos):
    """Stands in for the network where only the windows matter: each scores its first sample."""

    def score(self, windows: Any) -> list[DnsmosScore]:
        assert all(window.shape == (WINDOW_SAMPLES,) for window in windows)
        return [DnsmosScore(len(windows), 0.0, float(window[0])) for window in windows]


def test_dnsmos_reference_equals_the_published_implementation() -> None:
    score = dnsmos_reference(voiced(2.4))
    assert score is not None
    # What dnsmos.py of the package speechmos 0.0.1.1 gives for this signal.
    assert (score.sig, score.bak, score.ovrl) == pytest.approx((2.64662, 3.78397, 2.34588), abs=1e-3)


@pytest.mark.parametrize(
    ("seconds", "windows"),
    # Doubled to 9.6, 12 and 17.4 s; then as they are. The original drops the 8th to 24th hop by rounding.
    [(2.4, 1), (3, 3), (8.7, 7), (9.01, 1), (10.5, 1), (11, 2), (19.5, 7), (40, 14)],
)
def test_dnsmos_reference_hops_as_published(seconds: float, windows: int) -> None:
    score = dnsmos_reference(np.ones(int(seconds * SAMPLE_RATE)), CountingDnsmos())
    assert score is not None
    assert score.sig == windows


@pytest.mark.parametrize("seconds", [3, 4, 5.3])
def test_windows_that_repeat_are_scored_once_and_count_as_often(seconds: float) -> None:
    audio = voiced(seconds) + np.linspace(0, 0.1, int(seconds * SAMPLE_RATE), dtype=np.float32)
    model = CountingDnsmos()
    doubled = np.tile(audio, 4)[: audio.size * 2 ** int(np.ceil(np.log2(WINDOW_SAMPLES / audio.size)))]
    count = int(len(doubled) // SAMPLE_RATE - 9.01) + 1
    hops = [h for h in range(count) if int((h + 9.01) * SAMPLE_RATE) - h * SAMPLE_RATE == WINDOW_SAMPLES]
    score = dnsmos_reference(audio, model)
    assert score is not None
    assert score.ovrl == pytest.approx(np.mean([doubled[hop * SAMPLE_RATE] for hop in hops]))
    assert score.sig == (min(seconds, len(hops)) if seconds == int(seconds) else len(hops))


def test_dnsmos_reference_of_nothing_is_none() -> None:
    assert dnsmos_reference(np.zeros(0, dtype=np.float32)) is None


def test_dnsmos_scores_do_not_depend_on_the_other_windows() -> None:
    clean = fill_window(voiced(5))
    windows = np.stack([clean, noisy(clean, 10)])
    together = Dnsmos().score(windows)
    assert together[1:] == Dnsmos().score(windows[1:])
    assert together[1].ovrl < together[0].ovrl - 0.2
    assert together[1].bak < together[0].bak - 0.5


def test_dnsmos_does_not_import_the_package_that_carries_its_model() -> None:
    Dnsmos().score(np.zeros((0, WINDOW_SAMPLES)))
    assert "speechmos" not in sys.modules


def test_dnsmos_without_its_model_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install"):
        Dnsmos(threads=3).score(np.zeros((1, WINDOW_SAMPLES)))


def test_fill_window_repeats_short_audio_and_cuts_long() -> None:
    audio = np.arange(50_000, dtype=np.float32)
    filled = fill_window(audio)
    assert filled.shape == (WINDOW_SAMPLES,)
    np.testing.assert_array_equal(filled[50_000:100_000], audio)
    np.testing.assert_array_equal(fill_window(np.arange(200_000.0)), np.arange(WINDOW_SAMPLES))


def starts(energy: Floats, limit: int = 12) -> list[int]:
    return choose_windows(energy, len(energy) * SAMPLE_RATE, limit)


@pytest.mark.parametrize("samples", [0, 1, 16_000, WINDOW_SAMPLES, WINDOW_SAMPLES + 15_999])
def test_a_short_recording_has_one_window(samples: int) -> None:
    assert choose_windows(np.ones(-(-samples // SAMPLE_RATE)), samples) == [0]


@pytest.mark.parametrize("seconds", [10.3, 18.5, 20, 27.03, 59.99, 130, 3600])
def test_windows_lie_within_the_recording_and_hardly_overlap(seconds: float) -> None:
    samples = int(seconds * SAMPLE_RATE)
    chosen = choose_windows(np.ones(-(-samples // SAMPLE_RATE)), samples)
    assert 1 <= len(chosen) <= 12
    assert (chosen[-1] * SAMPLE_RATE + WINDOW_SAMPLES) <= samples
    assert all(later - earlier >= 9 for earlier, later in pairwise(chosen))


def test_windows_of_an_even_hour_are_spread_over_it() -> None:
    chosen = starts(np.ones(3600))
    assert len(chosen) == 12
    assert max(np.diff([0, *chosen, 3600])) < 400


def test_windows_go_where_the_speech_is() -> None:
    energy = np.full(3600, 1e-6)
    energy[1000:1200] = 1e-3
    chosen = starts(energy)
    assert len(chosen) == 12
    assert all(985 < start < 1200 for start in chosen)


def test_a_bang_does_not_take_the_windows_from_the_speech() -> None:
    energy = np.full(600, 1e-3)
    energy[300] = 1.0
    assert len(starts(energy)) == 12


def test_windows_of_silence_are_spread_evenly_and_the_limit_holds() -> None:
    assert len(starts(np.zeros(600))) == 12
    assert len(starts(np.ones(600), limit=1)) == 1
