"""Levels of a recording: noise floor, speech level, peak and clipping, streamed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exdiff_cli.measures import FLOOR_DBFS, SAMPLE_RATE, Floats

_FRAMES_PER_SECOND = 50
_LEVEL_BIN_DB = 0.1
_LEVEL_BINS = 1400
_CLIPPED = 0.999


@dataclass(frozen=True)
class Profile:
    """Levels of a recording.

    ``energy`` is the mean square of each second, ``(seconds,)``. Levels are in dB re full scale, never below
    ``FLOOR_DBFS``; ``clipped_share`` is of all samples, 0 to 1.
    """

    energy: Floats
    noise_floor_dbfs: float
    speech_level_dbfs: float
    peak_dbfs: float
    clipped_share: float


class ProfileMeter:
    """Measures levels in 20 ms frames: their 10th percentile is the noise floor, their 90th the speech level.

    Feed it the recording before resampling where clipping matters: a resampler rounds clipped tops off.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        self._sample_rate = sample_rate
        self._pending = np.zeros(0)
        self._energy: list[float] = []
        self._levels = np.zeros(_LEVEL_BINS, dtype=np.int64)
        self._peak = 0.0
        self._clipped = 0
        self._values = 0

    def push(self, chunk: Floats) -> None:
        """Take the next ``(n,)`` or ``(channels, n)`` samples; energies are averaged over channels."""
        magnitude = np.abs(np.atleast_2d(chunk))
        self._peak = max(self._peak, float(magnitude.max(initial=0.0)))
        self._clipped += int(np.count_nonzero(magnitude >= _CLIPPED))
        self._values += magnitude.size
        waiting = np.concatenate([self._pending, np.mean(np.square(magnitude, dtype=np.float64), axis=0)])
        count = waiting.size // self._sample_rate
        whole, self._pending = np.split(waiting, [count * self._sample_rate])
        if count:
            seconds = whole.reshape(count, self._sample_rate)
            self._energy.extend(seconds.mean(axis=-1).tolist())
            self._levels += _level_histogram(seconds, self._sample_rate)

    def result(self) -> Profile:
        """The profile so far; a last second that is not whole counts as it is."""
        rest = self._pending
        levels = self._levels + _level_histogram(rest[None], self._sample_rate)
        return Profile(
            energy=np.array(self._energy + ([float(rest.mean())] if rest.size else [])),
            noise_floor_dbfs=_percentile(levels, 0.1),
            speech_level_dbfs=_percentile(levels, 0.9),
            peak_dbfs=max(FLOOR_DBFS, 20 * math.log10(max(self._peak, 1e-12))),
            clipped_share=self._clipped / max(self._values, 1),
        )


def _level_histogram(squares: Floats, sample_rate: int) -> NDArray[np.int64]:
    """Count by level the whole frames of ``(seconds, n)`` squared samples, ``n`` at most a second."""
    bounds = np.arange(_FRAMES_PER_SECOND + 1) * sample_rate // _FRAMES_PER_SECOND
    bounds = bounds[bounds <= squares.shape[-1]]
    if len(bounds) < 2:
        return np.zeros(_LEVEL_BINS, dtype=np.int64)
    frames = np.add.reduceat(squares[:, : bounds[-1]], bounds[:-1], axis=-1) / np.diff(bounds)
    levels = 10 * np.log10(np.maximum(frames, 1e-12))
    bins = ((levels - FLOOR_DBFS) / _LEVEL_BIN_DB).astype(int).clip(0, _LEVEL_BINS - 1)
    return np.bincount(bins.ravel(), minlength=_LEVEL_BINS)


def _percentile(levels: NDArray[np.int64], share: float) -> float:
    if not levels.any():
        return FLOOR_DBFS
    position = int(np.searchsorted(np.cumsum(levels), share * levels.sum(), side="right"))
    return round(FLOOR_DBFS + position * _LEVEL_BIN_DB, 1)
