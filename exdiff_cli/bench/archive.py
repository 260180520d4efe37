"""What a benchmark enhances: recordings made for it, and how much of any archive is speech."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from math import ceil, log10
from pathlib import Path

import numpy as np
import soundfile

from exdiff_cli.audio.io import probe, read_windows
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.resample import StreamResampler
from exdiff_cli.bundle import find_shipped_audio
from exdiff_cli.errors import UsageError
from exdiff_cli.measures import SAMPLE_RATE
from exdiff_cli.measures.activity import ActivityMeter
from exdiff_cli.measures.talk import SPOKEN
from exdiff_cli.result import window_frames

SPEECH_GAIN, NOISE_RMS = 0.5, 0.01


@dataclass(frozen=True)
class MadeArchive:
    """Recordings to make: ``seconds`` of audio, cut into ``files`` of about one length.

    All channels hold the same talk, each in noise of its own.
    """

    seconds: float = 60.0
    files: int = 1
    rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        if self.frames < self.files:
            raise UsageError(f"--files {self.files}: {self.seconds:g} s are too short for so many; give fewer")

    @property
    def frames(self) -> int:
        return int(self.seconds * self.rate)

    def write(self, folder: Path) -> list[Path]:
        """Write WAV files into ``folder``, clip by clip, so that making them does not count as memory of a run."""
        talk, generator, paths = _Talk(self.rate), np.random.default_rng(0), []
        digits = ceil(log10(self.files + 1))
        for index in range(self.files):
            paths.append(folder / f"bench-{index:0{digits}}.wav")
            left = self.frames * (index + 1) // self.files - self.frames * index // self.files
            with soundfile.SoundFile(paths[-1], "w", self.rate, self.channels) as file:
                while left:
                    clip = talk.take(left)
                    noise = generator.standard_normal((len(clip), self.channels))
                    file.write(SPEECH_GAIN * clip[:, None] + NOISE_RMS * noise)
                    left -= len(clip)
        return paths


class _Talk:
    """The speech that ships, over and over: with what pauses it has, as the sampler is spared in these."""

    def __init__(self, rate: int) -> None:
        self._clips = cycle(sorted((find_shipped_audio() / "speech" / "valid").glob("*.opus")))
        self._rate, self._rest = rate, np.zeros(0, np.float32)

    def take(self, most: int) -> Samples:
        """The next samples ``(n,)``, at least one and up to ``most``; the next call goes on behind them."""
        while not self._rest.size:
            resampler = StreamResampler(SAMPLE_RATE, self._rate)
            clip = read_mono(next(self._clips))[None]
            self._rest = np.concatenate([resampler.push(clip), resampler.flush()], axis=1)[0]
        taken, self._rest = np.split(self._rest, [most])
        return taken


def speech_share(paths: Iterable[Path]) -> float:
    """The share of time, of all channels, in which the detector of the run hears speech. Raises RecordingError."""
    spoken = frames = 0
    for path in paths:
        for found in _activity(path):
            spoken += int(np.count_nonzero(found >= SPOKEN))
            frames += len(found)
    return round(spoken / frames, 3) if frames else 0.0


def _activity(path: Path) -> Iterator[Samples]:
    recording = probe(path)
    resampler = StreamResampler(recording.sample_rate, SAMPLE_RATE)
    meters = [ActivityMeter() for _ in range(recording.channels)]
    for window in read_windows(recording, window_frames(recording)):
        yield from (meter.push(row) for meter, row in zip(meters, resampler.push(window), strict=True))
    yield from (meter.push(row) for meter, row in zip(meters, resampler.flush(), strict=True))
    yield from (meter.flush() for meter in meters)
