"""A site's own noise: the stretches of its recordings in which nobody speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation

from exdiff_cli.audio.mono import MONO_RATE, mono_windows
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.spectral import LEVEL_RMS
from exdiff_cli.errors import DataError, RecordingError
from exdiff_cli.measures.activity import FRAME_SAMPLES, ActivityMeter
from exdiff_cli.training.pool import Pool, lay_out

SPEECH_THRESHOLD = 0.15
"""Frames at least this likely to be speech are not noise: well below the detector's usual 0.5."""

MARGIN_FRAMES = 8
"""A quarter of a second around speech is left out, for its onsets and its reverberation."""

SHORTEST_SECONDS = 0.5
SILENCE_RMS = 10 ** (-80 / 20)
FILE_SECONDS = 60.0
TOTAL_SECONDS = 900.0
LEAST_SECONDS = 5.0


@dataclass(frozen=True)
class Site:
    """Noise to learn from and noise to judge by, from different stretches; seconds of both together."""

    noise: Pool
    valid_noise: Pool
    seconds: float


def quiet_runs(probabilities: Samples) -> Iterator[tuple[int, int]]:
    """Runs of frames without speech, as (first, past the last), margins around speech left out."""
    speech = binary_dilation(probabilities >= SPEECH_THRESHOLD, np.ones(2 * MARGIN_FRAMES + 1))
    edges = np.flatnonzero(np.diff(np.concatenate([[True], speech, [True]]).astype(np.int8)))
    for first, past in edges.reshape(-1, 2):
        if (past - first) * FRAME_SAMPLES >= SHORTEST_SECONDS * MONO_RATE:
            yield int(first), int(past)


def noise_of(path: Path) -> list[Samples]:
    """The speech-free stretches of one recording, channels averaged, at 16 kHz; at most a minute of them.

    Raises :class:`RecordingError` where it cannot be read.
    """
    meter = ActivityMeter()
    found: list[Samples] = []
    for window in mono_windows(path):
        found += _stretches(window, meter)
        if sum(map(len, found)) >= FILE_SECONDS * MONO_RATE:
            break
    return found


def _stretches(audio: Samples, meter: ActivityMeter) -> Iterator[Samples]:
    """Of a window; a stretch that goes on in the next window counts as two."""
    whole = audio[: len(audio) // FRAME_SAMPLES * FRAME_SAMPLES]
    for first, past in quiet_runs(meter.push(whole)):
        stretch = whole[first * FRAME_SAMPLES : past * FRAME_SAMPLES]
        if np.sqrt(np.mean(np.square(stretch, dtype=np.float64))) > SILENCE_RMS:
            yield stretch


def collect_site(paths: Iterable[Path], report: Callable[[RecordingError], object]) -> Site:
    """Gather noise from recordings until there is enough; those that cannot be read are reported and passed over.

    Every fifth stretch is kept to judge by. Raises :class:`DataError` where too little is found.
    """
    stretches: list[Samples] = []
    for path in paths:
        try:
            stretches += noise_of(path)
        except RecordingError as error:
            report(error)
        if _seconds(stretches) >= TOTAL_SECONDS:
            break
    if _seconds(stretches) < LEAST_SECONDS or len(stretches) < 2:
        raise DataError(
            f"only {_seconds(stretches):.1f} s without speech were found; adapt needs {LEAST_SECONDS:.0f} s in at "
            "least two stretches: give it more recordings"
        )
    judged = [index % 5 == 1 for index in range(len(stretches))]
    return Site(
        noise=_pool([stretch for stretch, held in zip(stretches, judged, strict=True) if not held]),
        valid_noise=_pool([stretch for stretch, held in zip(stretches, judged, strict=True) if held]),
        seconds=_seconds(stretches),
    )


def _seconds(stretches: Iterable[Samples]) -> float:
    return sum(map(len, stretches)) / MONO_RATE


def _pool(stretches: list[Samples]) -> Pool:
    levelled = (stretch * (LEVEL_RMS / np.sqrt(np.mean(np.square(stretch, dtype=np.float64)))) for stretch in stretches)
    clips = ((np.clip(clip, -1, 1) * 32767).round().astype(np.int16) for clip in levelled)
    return lay_out(clips, tuple(f"site-{index}" for index in range(len(stretches))), pauses=False)
