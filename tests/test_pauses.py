"""Pauses: levels of known signals, and invention only where there is more than the mixture holds."""

from __future__ import annotations

import numpy as np
import pytest

from exdiff_cli.measures import FLOOR_DBFS
from exdiff_cli.measures.pauses import pause_levels

RATE = 16_000
RANDOM = np.random.default_rng(0)
SPEECH = np.where(np.arange(4 * RATE) % RATE < RATE // 2, 0.1, 0.0) * RANDOM.standard_normal(4 * RATE)
NOISE = 0.01 * RANDOM.standard_normal(4 * RATE)


def levels(estimate: np.ndarray, noisy: np.ndarray = SPEECH + NOISE) -> tuple[float, float]:
    found = pause_levels(estimate, SPEECH, noisy)
    assert found is not None
    return found


def test_the_level_of_known_noise() -> None:
    level, invented = levels(SPEECH + NOISE)
    assert level == pytest.approx(-20, abs=0.3)
    assert invented == FLOOR_DBFS


@pytest.mark.parametrize("gain", [0.5, 0.1])
def test_suppression_is_seen_in_full_and_invents_nothing(gain: float) -> None:
    level, invented = levels(SPEECH + gain * NOISE)
    assert level == pytest.approx(-20 + 20 * np.log10(gain), abs=0.3)
    assert invented == FLOOR_DBFS


def test_what_the_mixture_does_not_hold_is_invented() -> None:
    """Of two independent noises' Rayleigh magnitudes, what the first has beyond the second is 1 - pi/4 of it."""
    other = 0.01 * np.random.default_rng(1).standard_normal(4 * RATE)
    assert levels(SPEECH + other)[1] == pytest.approx(-20 + 10 * np.log10(1 - np.pi / 4), abs=0.3)
    assert levels(SPEECH + other, SPEECH)[1] == pytest.approx(-20, abs=0.3)


def test_does_not_depend_on_the_level() -> None:
    found = pause_levels(0.2 * (SPEECH + NOISE), 0.2 * SPEECH, 0.2 * (SPEECH + NOISE))
    assert found == pytest.approx(levels(SPEECH + NOISE), abs=1e-6)


def test_speech_is_left_out() -> None:
    assert levels(3 * SPEECH + NOISE)[0] == pytest.approx(-20, abs=0.5)


@pytest.mark.parametrize("clean", [np.zeros(RATE), RANDOM.standard_normal(RATE), np.zeros(100), np.zeros(0)])
def test_without_pauses_or_speech_there_is_nothing_to_say(clean: np.ndarray) -> None:
    assert pause_levels(clean, clean, clean) is None


def test_silence_is_at_the_floor() -> None:
    assert levels(np.zeros_like(SPEECH)) == (FLOOR_DBFS, FLOOR_DBFS)
