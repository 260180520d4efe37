"""The result of a recording on its way to the disk: cut to length, made as loud as wanted, limited, measured."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from exdiff_cli.audio.formats import output_format
from exdiff_cli.audio.io import AtomicWriter
from exdiff_cli.audio.limiter import Limiter
from exdiff_cli.audio.provenance import Provenance
from exdiff_cli.audio.recording import Recording, Samples
from exdiff_cli.audio.spool import Spool
from exdiff_cli.measures.loudness import LoudnessMeter
from exdiff_cli.measures.meter import Meter
from exdiff_cli.settings import Settings
from exdiff_cli.stages import StageSeconds

WINDOW_SECONDS = 10
MOST_WINDOW_SAMPLES = 1 << 24
"""Of all channels together: 64 of them at 768 kHz would fill gigabytes in ten seconds."""


def window_frames(recording: Recording) -> int:
    """How much of a recording is held at a time."""
    return min(WINDOW_SECONDS * recording.sample_rate, MOST_WINDOW_SAMPLES // recording.channels)


class Result:
    """Takes enhanced ``(channels, n)`` samples at the recording's rate; a context manager, as :class:`AtomicWriter`.

    Where a loudness is asked for, all of it waits on the disk until its loudness is known. ``meter`` measures what is
    written. ``provenance`` is what the file says of how it was made. With ``is_original`` it is the recording itself
    that is written. ``gain`` is what was asked for by the loudness, once that is known. ``seconds`` gets the time that
    it takes.
    """

    def __init__(
        self,
        target: Path,
        recording: Recording,
        settings: Settings,
        provenance: Provenance | None = None,
        is_original: bool = False,
        seconds: StageSeconds | None = None,
    ) -> None:
        self._seconds = StageSeconds() if seconds is None else seconds
        self._recording, self._settings = recording, settings
        output = output_format(recording, settings.storage)
        self.writer = AtomicWriter(target, recording, output, settings.storage.keep_time, provenance)
        self.meter = Meter(recording.sample_rate, recording.channels)
        self._holds_all = output.is_floating or (is_original and output.kept)
        self._limiter = Limiter(recording.sample_rate, recording.channels)
        self._loudness = LoudnessMeter(recording.sample_rate, recording.channels)
        self._spool: Spool | None = None
        self._frames, self.gain = 0, 1.0
        self._is_complete = False
        self._stack = ExitStack()

    def __enter__(self) -> Result:
        self._stack.enter_context(self.writer)
        if self._settings.loudness is not None:
            self._spool = self._stack.enter_context(Spool(self.writer.target, self._recording.channels))
        self._stack.push(self._finish)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        """Before the writer is left: all of the result has to be there."""
        if kind is None and not self._is_complete:
            self.complete()

    def write(self, samples: Samples) -> None:
        """Append samples; beyond the recording's own length they are dropped: resampling there and back rounds up."""
        kept = samples[:, : self._recording.frames - self._frames]
        self._frames += kept.shape[1]
        if self._spool is None:
            self._limit(kept)
        elif kept.shape[1]:
            with self._seconds.timing("measure"):
                self._loudness.push(kept)
            with self._seconds.timing("write"):
                self._spool.write(kept)
                self.writer.touch()

    def complete(self) -> None:
        """Write what is left and check it; it lies whole at the writer's temporary file then. Raises RecordingError."""
        if self._spool is not None:
            self.gain = self._needed_gain()
            for window in self._spool.windows(window_frames(self._recording)):
                self._limit(window * self.gain)
        self._put(self._limiter.flush())
        with self._seconds.timing("write"):
            self.writer.complete()
        self._is_complete = True

    def _needed_gain(self) -> float:
        """What brings the loudness to where it is wanted; none for silence, which has no loudness."""
        wanted, found = self._settings.loudness, self._loudness.integrated()
        return 1.0 if wanted is None or found is None else float(10 ** ((wanted - found) / 20))

    def _limit(self, samples: Samples) -> None:
        # Floats hold what exceeds full scale, and may have done so in the recording, of which nothing is turned down.
        if not self._holds_all:
            with self._seconds.timing("join"):
                samples = self._limiter.push(samples)
        self._put(samples)

    def _put(self, samples: Samples) -> None:
        if samples.shape[1]:
            stored = self.writer.format.stored(samples)
            with self._seconds.timing("measure"):
                self.meter.push(stored)
            with self._seconds.timing("write"):
                self.writer.write(stored)

    def changes(self) -> list[str]:
        """What of it differs from the recording by how it is stored, in words."""
        recording, output = self._recording, self.writer.format
        found = list(recording.left_out)
        if not output.kept:
            found.append(f"stored as {output.container} {output.subtype}: {self._why_converted()}")
        found += filter(None, (self.writer.left_out, self.writer.untagged))
        if self.gain != 1.0:
            found.append(f"loudness changed by {20 * math.log10(self.gain):+.1f} dB: as asked for")
        if self._limiter.limited:
            found.append(f"{self._limiter.limited} samples turned down, as no peak may exceed full scale")
        return found

    def _why_converted(self) -> str:
        storage, recording = self._settings.storage, self._recording
        if storage.format or storage.subtype:
            return "as asked for"
        return f"{recording.container} {recording.subtype} cannot be written so that its length is kept"
