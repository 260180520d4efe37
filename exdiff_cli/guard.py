"""Where generated sound is not trusted: there the result fades to what Extract found, or to the recording itself.

Diffuse makes sound up; Extract only takes away. Each frame of a sample is held against Extract's estimate: sound where
nobody speaks, speech of another colour, speech that became louder or fainter. The limits come from a calibration,
see docs/guard.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from exdiff_cli.audio.recording import Samples
from exdiff_cli.measures.activity import FRAME_SAMPLES
from exdiff_cli.measures.talk import SILENT, SPOKEN
from exdiff_cli.settings import OnRisk

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]

AROUND_SPEECH = 4
"""Frames on either side of speech that count as neither: words begin and end before and after the detector says so."""

AUDIBLE_DECIBELS = -50.0
"""Against the level of the speech, or of the recording where there is none: what is fainter does not count as sound."""

BAND_FLOOR_DECIBELS = -40.0
"""Likewise for the colour of speech, all bands together: a band that is empty in both has no colour."""

KEPT_DECIBELS = (-15.0, 6.0)
"""Against the recording at that time: what is nearly as loud as there is not made up, but found where Extract and the
detector missed it. Of the frames that are louder than Extract's estimate by too much, these are nearly all speech."""

STRAY_FRAMES, JUMP_FRAMES = 5, 16
"""Over which colour and level are averaged: 160 ms and half a second."""

WIDTH = 1_024
"""Samples of a frame's spectrum; frames are as far apart as the detector's."""

_EDGES = np.unique(np.round(np.geomspace(6, WIDTH // 2, 16)).astype(int))
"""Of the bands that make up a colour, in bins of 16 Hz from 94 Hz on."""

_WINDOW = np.hanning(WIDTH)
_FADE_FRAMES = 2
_TINY = 1e-12


class Reason(StrEnum):
    """What is wrong with a stretch of a sample."""

    ADDED = "sound added where nobody speaks"
    STRAYED = "speech of another colour"
    JUMPED = "speech of another level"
    UNSURE = "speech that differs from draw to draw"


@dataclass(frozen=True)
class Limits:
    """In decibels; beyond them a sample is not trusted.

    ``added`` is the design's; the others are above all but a thousandth of the frames of noisy speech, of which the
    samples are better than the estimates by every measure.
    """

    added: float = 6.0
    strayed: float = 11.0
    jumped: float = 14.5
    unsure: float = 0.5


LIMITS = Limits()


@dataclass(frozen=True)
class Risk:
    """Samples ``first`` to ``past`` of a piece, why they are not trusted, and by how many decibels at worst."""

    first: int
    past: int
    reason: Reason
    decibels: float


@dataclass(frozen=True)
class Strangeness:
    """What sets a sample apart from the estimate in each frame, in decibels; NaN where it does not apply.

    ``unsure`` is how far apart draws with other seeds are; it does not apply where there was one.
    """

    added: Floats
    strayed: Floats
    jumped: Floats
    unsure: Floats

    def by_reason(self) -> dict[Reason, Floats]:
        return {
            Reason.ADDED: self.added,
            Reason.STRAYED: self.strayed,
            Reason.JUMPED: self.jumped,
            Reason.UNSURE: self.unsure,
        }


def strangeness(
    mixture: Samples, estimate: Samples, sample: Samples, speech: Floats, others: Sequence[Samples] = ()
) -> Strangeness:
    """Compare signals ``(samples,)`` at 16 kHz, of which ``speech`` has the detector's probabilities, a frame each.

    ``others`` are more draws of the sample.
    """
    heard, found, made = (band_powers(signal, len(speech)) for signal in (mixture, estimate, sample))
    spoken = speech >= SPOKEN
    silent = (speech < SILENT) & ~widened(spoken, AROUND_SPEECH)
    level = (found[spoken] if spoken.any() else heard).sum(-1).mean() + _TINY
    floor = level * 10 ** (AUDIBLE_DECIBELS / 10)
    added = _decibels(made.sum(-1) / np.maximum(found.sum(-1), floor))
    least, most = (10 ** (decibels / 10) * heard.sum(-1) for decibels in KEPT_DECIBELS)
    is_kept = (made.sum(-1) > least) & (made.sum(-1) < most)
    band_floor = level * 10 ** (BAND_FLOOR_DECIBELS / 10) / found.shape[-1]
    apart = _decibels((made + band_floor) / (found + band_floor))
    spread = _spread([made, *(band_powers(other, len(speech)) for other in others)], band_floor)
    strayed = averaged(np.sqrt(np.square(apart).mean(-1)), STRAY_FRAMES)
    levels = (averaged(power.sum(-1) * spoken, JUMP_FRAMES) + floor for power in (made, found))
    jumped = np.abs(_decibels(np.divide(*levels)))
    return Strangeness(
        np.where(silent & ~is_kept, added, np.nan),
        *(np.where(spoken, each, np.nan) for each in (strayed, jumped, spread)),
    )


def _spread(draws: Sequence[Floats], floor: Floats) -> Floats:
    """How far the draws' ``(frames, bands)`` powers are from their mean, in decibels, ``(frames,)``; NaN for one."""
    if len(draws) == 1:
        return np.full(len(draws[0]), np.nan)
    levels = np.stack([_decibels(draw + floor) for draw in draws])
    return averaged(np.sqrt(levels.var(axis=0, ddof=1).mean(-1)), STRAY_FRAMES)


def band_powers(signal: Samples, frames: int) -> Floats:
    """Power in each band of frames around those of the detector, ``(frames, bands)``."""
    margin = (WIDTH - FRAME_SAMPLES) // 2
    padded = np.pad(signal, (margin, frames * FRAME_SAMPLES - len(signal) + margin)).astype(np.float64)
    spectrum = np.fft.rfft(sliding_window_view(padded, WIDTH)[::FRAME_SAMPLES] * _WINDOW)
    return np.add.reduceat(np.square(np.abs(spectrum)), _EDGES[:-1], axis=-1)


def widened(flags: Flags, frames: int) -> Flags:
    """With so many frames more on either side."""
    return np.convolve(flags, np.ones(2 * frames + 1), "full")[frames : frames + len(flags)] > 0


def averaged(values: Floats, frames: int) -> Floats:
    """Mean of so many frames around each; of fewer at the ends."""
    window = np.ones(min(frames, len(values)))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _decibels(ratio: Floats) -> Floats:
    return 10 * np.log10(ratio + _TINY)


def risks_of(strange: Strangeness, samples: int, limits: Limits = LIMITS) -> tuple[Risk, ...]:
    """The stretches in which a sample of so many ``samples`` is beyond the limits."""
    bounds = {
        Reason.ADDED: limits.added,
        Reason.STRAYED: limits.strayed,
        Reason.JUMPED: limits.jumped,
        Reason.UNSURE: limits.unsure,
    }
    found = []
    for reason, values in strange.by_reason().items():
        beyond = np.nan_to_num(values, nan=-np.inf) > bounds[reason]
        for first, past in _runs(beyond):
            ends = first * FRAME_SAMPLES, min(past * FRAME_SAMPLES, samples)
            found.append(Risk(*ends, reason, round(float(values[first:past].max()), 1)))
    return tuple(sorted(found, key=lambda risk: (risk.first, risk.reason)))


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """First index and the one past the last of each run of True."""
    steps = np.diff(np.concatenate([[0], flags.astype(int), [0]]))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def guarded(mixture: Samples, estimate: Samples, sample: Samples, risks: tuple[Risk, ...], on_risk: OnRisk) -> Samples:
    """What a sample ``(samples,)`` comes to where it is not to be trusted in the stretches of ``risks``."""
    if not risks or on_risk is OnRisk.FLAG:
        return sample
    instead = mixture if on_risk is OnRisk.KEEP_ORIGINAL else estimate
    return instead + trust(risks, len(sample)) * (sample - instead)


def trust(risks: tuple[Risk, ...], samples: int) -> Samples:
    """Weight of the sample, ``(samples,)``: none in a risky stretch and a frame around it, all a little further off."""
    frames = -(-samples // FRAME_SAMPLES)
    risky = np.zeros(frames, bool)
    for risk in risks:
        risky[risk.first // FRAME_SAMPLES : -(-risk.past // FRAME_SAMPLES)] = True
    weights = averaged((~widened(risky, _FADE_FRAMES)).astype(float), 2 * _FADE_FRAMES - 1)
    centres = (np.arange(frames) + 0.5) * FRAME_SAMPLES
    return np.interp(np.arange(samples), centres, weights).astype(np.float32)


@dataclass(frozen=True)
class Mark:
    """A stretch of a recording, in seconds, in which the sampler was not trusted on ``channels``, counted from 0."""

    start: float
    end: float
    channels: tuple[int, ...]
    reason: Reason
    decibels: float


MARKS_APART = 0.1
"""Seconds between two stretches of one kind that are told as one."""


def merged(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Stretches that overlap, as neighbouring segments do, or nearly touch are one; in order of time."""
    found: list[Mark] = []
    latest: dict[tuple[Reason, tuple[int, ...]], int] = {}
    for mark in sorted(marks, key=lambda mark: (mark.start, mark.end)):
        kind = mark.reason, mark.channels
        earlier = found[latest[kind]] if kind in latest else None
        if earlier is None or mark.start > earlier.end + MARKS_APART:
            latest[kind] = len(found)
            found.append(mark)
        else:
            end, decibels = max(earlier.end, mark.end), max(earlier.decibels, mark.decibels)
            found[latest[kind]] = replace(earlier, end=end, decibels=decibels)
    return tuple(found)


_DONE = {
    OnRisk.FALLBACK: "Extract's estimate taken there",
    OnRisk.KEEP_ORIGINAL: "the recording kept there",
    OnRisk.FLAG: "left as asked for",
}


def summed_up(marks: Sequence[Mark], on_risk: OnRisk) -> list[str]:
    """One line on where the sampler was not trusted, if anywhere; what fails by it has no result to speak of."""
    if not marks:
        return []
    seconds = sum(mark.end - mark.start for mark in marks)
    kinds = Counter(mark.reason for mark in marks)
    told = ", ".join(f"{reason.value} {count} times" for reason, count in sorted(kinds.items()))
    return [f"the sampler not trusted for {seconds:.1f} s ({told}): {_DONE[on_risk]}"]
