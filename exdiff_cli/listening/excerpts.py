"""Where in a recording to listen, and what is heard there.

Excerpts are drawn among those places where people speak, not where two versions differ most: the most changed seconds
are the least usual ones, and a preference for them would say little of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from exdiff_cli.audio.io import probe, read_windows
from exdiff_cli.audio.mono import MONO_RATE, mono_windows
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.resample import StreamResampler
from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import FRAME_SAMPLES, ActivityMeter

RATE = 48_000
"""Excerpts are brought to this rate, in Hertz, whatever that of their recording, so that it tells nothing."""

SHORTEST = 1.0
"""Below, in seconds, nobody could judge, and loudness would be a guess."""

SPAN = 600.0
"""Speech is looked for in so many seconds of a long recording, which begin at random."""

_SPEAKS = 0.5
_LEAST_SPEECH = 0.1
_NEARLY_BEST = 0.8
_FRAME = FRAME_SAMPLES / MONO_RATE


@dataclass(frozen=True)
class Excerpt:
    """A place in a recording, in seconds."""

    start: float
    seconds: float


def find_excerpts(versions: Sequence[Path], seconds: float, random: Random) -> list[Excerpt]:
    """Places of ``seconds``, or the whole of a shorter recording, that do not overlap, in the order of drawing.

    Speech is what the detector hears in the mean of all versions, so that none of them decides. Nothing where nobody
    speaks, or the recording is too short. Raises :class:`RecordingError` where one cannot be read.
    """
    length = min(probe(path).seconds for path in versions)
    if length < SHORTEST:
        return []
    begin = random.uniform(0, max(0.0, length - SPAN))
    heard = [_speech(path, begin, min(length, SPAN)) for path in versions]
    count = min(map(len, heard))
    probabilities = np.mean([each[:count] for each in heard], axis=0)
    seconds = min(seconds, length)
    starts = draw_starts(probabilities, seconds, random)
    return [Excerpt(min(begin + start, length - seconds), seconds) for start in starts]


def draw_starts(probabilities: Floats, seconds: float, random: Random) -> list[float]:
    """Starts, in seconds, of stretches that do not overlap and hold nearly as much speech as the best one."""
    width = min(max(1, round(seconds / _FRAME)), len(probabilities))
    sums = np.concatenate([[0], np.cumsum(probabilities > _SPEAKS)])
    shares = (sums[width:] - sums[:-width]) / width
    least = max(_LEAST_SPEECH, _NEARLY_BEST * float(shares.max()))
    starts = []
    while (good := np.flatnonzero(shares >= least)).size:
        start = int(random.choice(good.tolist()))
        shares[max(0, start - width + 1) : start + width] = 0
        starts.append(start * _FRAME)
    return starts


def _speech(path: Path, begin: float, seconds: float) -> Floats:
    meter = ActivityMeter()
    parts = [meter.push(window) for window in _span(mono_windows(path), begin * MONO_RATE, seconds * MONO_RATE)]
    return np.concatenate([*parts, meter.flush()])


def _span(windows: Iterator[Samples], first: float, count: float) -> Iterator[Samples]:
    """So many samples from ``first`` on; what comes after is not read."""
    begin, end, done = round(first), round(first + count), 0
    for window in windows:
        yield window[..., max(0, begin - done) : max(0, end - done)]
        done += window.shape[-1]
        if done >= end:
            break


def read_excerpt(path: Path, excerpt: Excerpt) -> Samples:
    """What lies there, ``(channels, frames)`` at :data:`RATE`. Raises :class:`RecordingError`.

    Reads from the start: not every format can seek exactly.
    """
    recording = probe(path)
    rate = recording.sample_rate
    parts = list(_span(read_windows(recording, rate), excerpt.start * rate, excerpt.seconds * rate))
    resampler = StreamResampler(rate, RATE)
    return np.concatenate([resampler.push(np.concatenate(parts, axis=1)), resampler.flush()], axis=1)
