"""The guard: it finds what was made up, and what it takes instead is there without a click; all else stays."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import talk

from exdiff_cli.audio.recording import Samples
from exdiff_cli.guard import (
    LIMITS,
    Mark,
    Reason,
    Risk,
    guarded,
    merged,
    risks_of,
    strangeness,
    summed_up,
    trust,
)
from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import FRAME_SAMPLES
from exdiff_cli.settings import OnRisk

FRAMES = 150
SPOKEN = slice(40, 90)
"""Frames in which somebody speaks."""


def guard(
    mixture: Samples, estimate: Samples, sample: Samples, speech: Floats, on_risk: OnRisk
) -> tuple[Samples, tuple[Risk, ...]]:
    risks = risks_of(strangeness(mixture, estimate, sample, speech), len(sample))
    return guarded(mixture, estimate, sample, risks, on_risk), risks


def noise(seed: int, level: float) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(FRAMES * FRAME_SAMPLES)).astype(np.float32)


@pytest.fixture
def estimate() -> Samples:
    """Speech between two pauses that are nearly silent."""
    spoken = np.zeros(FRAMES, bool)
    spoken[SPOKEN] = True
    voice = np.resize(talk(5.0)[0], FRAMES * FRAME_SAMPLES)
    return (voice * np.repeat(spoken, FRAME_SAMPLES)).astype(np.float32) + noise(1, 1e-5)


@pytest.fixture
def mixture(estimate: Samples) -> Samples:
    return estimate + noise(2, 0.15)


@pytest.fixture
def speech() -> Floats:
    probabilities = np.full(FRAMES, 0.02)
    probabilities[SPOKEN] = 0.98
    return probabilities


def within(signal: Samples, first: int, past: int) -> Samples:
    return signal[first * FRAME_SAMPLES : past * FRAME_SAMPLES]


def spoil(estimate: Samples, first: int, past: int, reason: Reason) -> Samples:
    """A sample that is the estimate but for some frames."""
    sample = estimate.copy()
    part = within(sample, first, past)
    if reason is Reason.ADDED:
        part += 0.02 * np.sin(0.3 * np.arange(len(part)))
    elif reason is Reason.STRAYED:
        part[:] = np.convolve(part, [1, -1.98, 0.98], "same") * 10
    else:
        part *= 8
    return sample


SPOILT = [(Reason.ADDED, 110, 125), (Reason.STRAYED, 50, 75), (Reason.JUMPED, 50, 80)]


def test_a_sample_that_is_the_estimate_is_trusted(mixture: Samples, estimate: Samples, speech: Floats) -> None:
    result, risks = guard(mixture, estimate, estimate, speech, OnRisk.FALLBACK)
    assert risks == ()
    np.testing.assert_array_equal(result, estimate)


@pytest.mark.parametrize(("reason", "first", "past"), SPOILT)
def test_what_is_made_up_is_found_and_taken_back(
    mixture: Samples, estimate: Samples, speech: Floats, reason: Reason, first: int, past: int
) -> None:
    sample = spoil(estimate, first, past, reason)
    result, risks = guard(mixture, estimate, sample, speech, OnRisk.FALLBACK)
    (risk,) = (risk for risk in risks if risk.reason is reason)
    assert abs(risk.first / FRAME_SAMPLES - first) <= 6
    assert abs(risk.past / FRAME_SAMPLES - past) <= 6
    assert risk.decibels > getattr(LIMITS, reason.name.lower())
    middle = (first + past) // 2
    np.testing.assert_array_equal(within(result, middle - 3, middle + 3), within(estimate, middle - 3, middle + 3))
    away = within(result, 0, first - 12), within(sample, 0, first - 12)
    np.testing.assert_array_equal(*away)
    after = strangeness(mixture, estimate, result, speech)
    assert np.nanmax(after.added) <= LIMITS.added


@pytest.mark.parametrize("on_risk", OnRisk)
def test_what_is_taken_instead(mixture: Samples, estimate: Samples, speech: Floats, on_risk: OnRisk) -> None:
    sample = spoil(estimate, 110, 125, Reason.ADDED)
    result, risks = guard(mixture, estimate, sample, speech, on_risk)
    expected = {OnRisk.KEEP_ORIGINAL: mixture, OnRisk.FLAG: sample}.get(on_risk, estimate)
    assert len(risks) == 1
    np.testing.assert_array_equal(within(result, 112, 123), within(expected, 112, 123))


def test_sound_around_words_is_not_called_invented(mixture: Samples, estimate: Samples, speech: Floats) -> None:
    """Their ends fade out after the detector has stopped to hear them."""
    sample = spoil(estimate, SPOKEN.stop, SPOKEN.stop + 3, Reason.ADDED)
    assert not [r for r in guard(mixture, estimate, sample, speech, OnRisk.FLAG)[1] if r.reason is Reason.ADDED]


def test_what_the_recording_holds_is_not_invented(mixture: Samples, estimate: Samples, speech: Floats) -> None:
    """A word that Extract and the detector missed, and the sampler found."""
    word = spoil(np.zeros_like(estimate), 110, 125, Reason.ADDED)
    sample = estimate + 20 * word
    assert guard(mixture, estimate, sample, speech, OnRisk.FLAG)[1] != ()
    assert guard(mixture + 20 * word, estimate, sample, speech, OnRisk.FLAG)[1] == ()


def test_what_nobody_can_hear_is_no_sound(mixture: Samples, estimate: Samples, speech: Floats) -> None:
    sample = estimate + noise(3, 1e-4)
    assert guard(mixture, estimate, sample, speech, OnRisk.FLAG)[1] == ()


def test_without_speech_the_recording_is_the_measure(mixture: Samples, speech: Floats) -> None:
    silent = np.zeros_like(speech)
    hiss, estimate = noise(2, 0.01), noise(1, 1e-5)
    assert guard(hiss, estimate, estimate + noise(4, 1e-5), silent, OnRisk.FLAG)[1] == ()
    (risk,) = guard(hiss, estimate, estimate + noise(4, 1e-3), silent, OnRisk.FLAG)[1]
    assert (risk.first, risk.past, risk.reason) == (0, len(hiss), Reason.ADDED)


@pytest.mark.parametrize("length", [1, 511, 512, 513, 5_000])
def test_short_pieces(length: int) -> None:
    frames = -(-length // FRAME_SAMPLES)
    sound = noise(5, 0.1)[:length]
    for probability in (0.0, 1.0):
        result, _ = guard(sound, sound, 5 * sound, np.full(frames, probability), OnRisk.FALLBACK)
        assert result.shape == (length,)
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result, sound, rtol=0, atol=1e-6)


def test_silence_is_nothing_to_worry_about() -> None:
    silence = np.zeros(5_120, np.float32)
    result, risks = guard(silence, silence, silence, np.zeros(10), OnRisk.FALLBACK)
    assert risks == ()
    assert not result.any()


def test_trust_fades_without_a_click() -> None:
    weights = trust((Risk(20 * FRAME_SAMPLES, 25 * FRAME_SAMPLES, Reason.ADDED, 9.0),), 50 * FRAME_SAMPLES)
    assert within(weights, 20, 25).max() == 0
    assert within(weights, 0, 15).min() == within(weights, 30, 50).min() == 1
    assert np.abs(np.diff(weights)).max() < 1 / FRAME_SAMPLES


def mark(start: float, end: float, decibels: float = 7.0, channel: int = 0, reason: Reason = Reason.ADDED) -> Mark:
    return Mark(start, end, (channel,), reason, decibels)


def test_stretches_of_neighbouring_segments_are_one() -> None:
    marks = [mark(1.0, 2.0), mark(5.0, 5.2), mark(1.8, 2.5, 9.0), mark(2.55, 2.6), mark(1.9, 2.0, channel=1)]
    assert merged(marks) == (mark(1.0, 2.6, 9.0), mark(1.9, 2.0, channel=1), mark(5.0, 5.2))


def test_kinds_are_told_apart_and_counted() -> None:
    marks = merged([mark(1.0, 2.0), mark(1.5, 1.7, reason=Reason.JUMPED), mark(4.0, 4.5)])
    assert len(marks) == 3
    (line,) = summed_up(marks, OnRisk.FALLBACK)
    assert line == (
        "the sampler not trusted for 1.7 s (sound added where nobody speaks 2 times, speech of another level 1 times): "
        "Extract's estimate taken there"
    )
    assert summed_up([], OnRisk.FALLBACK) == []


def test_draws_that_are_apart_are_not_sure(mixture: Samples, estimate: Samples, speech: Floats) -> None:
    """Half of the word is a quarter as loud in one of the draws: 12 dB, a spread of 8.5."""
    sample = estimate.copy()
    other = sample.copy()
    first, past = (frame * FRAME_SAMPLES for frame in (SPOKEN.start, (SPOKEN.start + SPOKEN.stop) // 2))
    other[first:past] *= 0.25
    strange = strangeness(mixture, estimate, sample, speech, [other])
    assert np.isnan(strangeness(mixture, estimate, sample, speech).unsure).all()
    assert np.nanmax(strange.unsure) == pytest.approx(8.5, abs=0.2)
    (risk,) = risks_of(strange, len(sample))
    assert risk.reason is Reason.UNSURE
    assert first - 3 * FRAME_SAMPLES <= risk.first < risk.past <= past + 3 * FRAME_SAMPLES
