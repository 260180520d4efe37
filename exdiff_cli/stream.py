"""One recording on its way through a run: decoded into pieces, put together again, written, measured.

A :class:`RecordingStream` never holds more than a few windows of audio, however long its recording is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from exdiff_cli.audio.band_above import RATE, BandAbove, as_stored
from exdiff_cli.audio.channels import Part, parts_of
from exdiff_cli.audio.highband import back_from
from exdiff_cli.audio.io import AtomicWriter, WindowReader, read_windows
from exdiff_cli.audio.provenance import Provenance
from exdiff_cli.audio.recording import Recording, Samples
from exdiff_cli.audio.resample import StreamResampler
from exdiff_cli.audio.segments import OverlapAdd, Segment, Segmenter, SegmentPlan
from exdiff_cli.enhancer import Enhanced, Piece, segment_seed
from exdiff_cli.errors import GateError, RecordingError
from exdiff_cli.guard import Mark, merged, summed_up
from exdiff_cli.jobs import Job
from exdiff_cli.manifest import Fingerprint
from exdiff_cli.measures import Floats
from exdiff_cli.measures.meter import Meter
from exdiff_cli.result import Result, window_frames
from exdiff_cli.settings import OnRisk, Settings
from exdiff_cli.stages import StageSeconds


@dataclass(frozen=True, eq=False)
class StreamPiece:
    """A piece on its way to the models, and where its result goes: to what part of which channels' segments."""

    stream: RecordingStream
    part: Part
    segment: Segment
    piece: Piece


class RecordingStream:
    """Decodes one recording into pieces and joins the enhanced ones into its result.

    ``pieces`` runs in a decoding thread, ``accept`` where results are joined; each side owns its half of the state.
    """

    def __init__(
        self,
        job: Job,
        recording: Recording,
        content: Fingerprint,
        target: Path,
        settings: Settings,
        model_rate: int,
        provenance: Provenance | None = None,
    ) -> None:
        self.job, self.recording, self.content, self._target = job, recording, content, target
        self._provenance = provenance
        self.failed = False
        self.seconds = StageSeconds()
        self.settings, self._model_rate = settings, model_rate
        self._plan = SegmentPlan(settings.segment, settings.overlap)
        self.before = Meter(recording.sample_rate, recording.channels)
        self.reader: WindowReader | None = None
        self.speech: Floats | None = None
        """The detector's probabilities of the whole recording, where that is one segment of one channel."""
        self._begin()

    def _begin(self, is_original: bool = False) -> None:
        """With a result that holds nothing yet."""
        recording, channels = self.recording, self.recording.channels
        stored = as_stored(recording, self.settings.extend_band)
        self._is_extended = stored is not recording
        self.is_original = is_original
        self.result = Result(self._target, stored, self.settings, self._provenance, is_original, self.seconds)
        self._joiners = [OverlapAdd(self._plan) for _ in range(channels)]
        self._joined: list[list[Samples]] = [[] for _ in range(channels)]
        self._own_rate = (
            BandAbove(recording.sample_rate, channels)
            if self._is_extended
            else back_from(self._model_rate, recording.sample_rate, channels)
        )
        self._segments, self._images = 0, 0
        self._marks: list[Mark] = []
        self._unsure, self._unsure_frames = 0.0, 0
        self._stack = ExitStack()
        self._open = False

    def restart(self, settings: Settings, is_original: bool = False) -> None:
        """Drop what was written and begin once more, with other settings."""
        self._close_dropped()
        self.settings = settings
        if self._provenance is not None:
            self._provenance = replace(self._provenance, is_generated=settings.is_generative)
        self._begin(is_original)

    def keep_original(self, go_on: Callable[[], None]) -> None:
        """Make the recording itself the complete result: as loud as it is, and not tagged as enhanced.

        Stored as the result would be; sample by sample the same where that is its own format. ``go_on`` is asked before
        each window. Raises RecordingError.
        """
        self._provenance = None
        self.restart(replace(self.settings, extend_band=False, loudness=None), is_original=True)
        self._enter()
        for window in read_windows(self.recording, window_frames(self.recording)):
            go_on()
            self.result.write(window)
        self.complete()

    @property
    def writer(self) -> AtomicWriter:
        """What the result is written by."""
        return self.result.writer

    @property
    def after(self) -> Meter:
        """Of the result, as :attr:`before` is of the recording."""
        return self.result.meter

    @property
    def changes(self) -> list[str]:
        """What the result differs in from its recording beside the sound, in words."""
        found = self.result.changes()
        found += summed_up(self.marks, self.settings.on_risk)
        if self.recording.sample_rate > self._model_rate and not self.is_original:
            limit = self._model_rate // 2
            found.append(f"above {limit} Hz only turned down, as between {limit // 2} and {limit} Hz")
        if self._is_extended:
            rate = self.recording.sample_rate
            found.append(f"above {rate // 2} Hz made up, and stored at {RATE} Hz in place of {rate}: as asked for")
        if self._images:
            share = f"{self._images} of {self._segments} segments"
            found.append(f"one mask for both channels, which held one sound, in {share}")
        if self.reader is not None and self.reader.non_finite_samples:
            found.append(f"{self.reader.non_finite_samples} samples that were not numbers replaced by silence")
        return found

    def pieces(self) -> Iterator[StreamPiece]:
        """Decode, resample and cut, up to the end or :meth:`discard`; RecordingError where it is damaged."""
        rate, channels = self.recording.sample_rate, self.recording.channels
        downsampler = StreamResampler(rate, self._model_rate)
        segmenters = [Segmenter(self._plan) for _ in range(channels)]
        self.reader = read_windows(self.recording, window_frames(self.recording))
        self.before = Meter(rate, channels)
        for window in self.seconds.waiting(self.reader, "decode"):
            if self.failed:
                return
            with self.seconds.timing("measure"):
                self.before.push(window)
            with self.seconds.timing("resample"):
                self._own_rate.keep(window)
                resampled = downsampler.push(window)
            with self.seconds.timing("join"):
                cut = [segmenter.push(row) for segmenter, row in zip(segmenters, resampled, strict=True)]
            yield from self._wrap(cut)
        rest = downsampler.flush()
        yield from self._wrap([segmenter.push(row) for segmenter, row in zip(segmenters, rest, strict=True)])
        yield from self._wrap([segmenter.flush() for segmenter in segmenters])

    def _wrap(self, by_channel: list[list[Segment]]) -> Iterator[StreamPiece]:
        for segments in zip(*by_channel, strict=True):
            together = replace(segments[0], samples=np.stack([segment.samples for segment in segments]))
            parts = parts_of(together.samples)
            self._segments += 1
            self._images += any(part.is_image(together.samples) for part in parts)
            for part in parts:
                seed = segment_seed(self.content.sha256, part.channels[0], together.index, self.settings.seed)
                yield StreamPiece(self, part, together, Piece(part.signal, together.valid, seed))

    def accept(self, result: StreamPiece, enhanced: Enhanced) -> bool:
        """Take what became of a piece; returns whether the result is complete. RecordingError."""
        self._note(result, enhanced)
        self._enter()
        part, segment = result.part, result.segment
        with self.seconds.timing("join"):
            made = part.spread(enhanced.samples, segment.samples)
            for channel, row in zip(part.channels, made, strict=True):
                both = replace(segment, samples=np.stack([segment.samples[channel], row]))
                self._joined[channel].append(self._joiners[channel].push(both))
        complete = all(self._joined)
        if complete:
            with self.seconds.timing("resample"):
                heard, made = np.stack([queue.pop(0) for queue in self._joined], axis=1)
                restored = self._own_rate.restore(heard, made)
            self.result.write(restored)
        is_last = complete and segment.last
        if is_last:
            self.result.write(self._own_rate.flush())
        return is_last

    def _enter(self) -> None:
        if not self._open:
            with self.seconds.timing("write"):
                self._stack.enter_context(self.result)
            self._open = True

    def _note(self, result: StreamPiece, enhanced: Enhanced) -> None:
        """Keep what the guard found; GateError where a recording is to fail by it."""
        self._unsure += float(enhanced.unsure.sum())
        self._unsure_frames += len(enhanced.unsure)
        if self.recording.channels == 1 and result.segment.last and not result.segment.index and len(enhanced.speech):
            self.speech = enhanced.speech
        start = result.segment.index * self._plan.hop
        for risk in enhanced.risks:
            first, past = (round((start + sample) / self._model_rate, 3) for sample in (risk.first, risk.past))
            mark = Mark(first, past, result.part.channels, risk.reason, risk.decibels)
            self._marks.append(mark)
            if self.settings.on_risk is OnRisk.FAIL:
                problem = f"{mark.reason} at {mark.start:.1f} s, by {mark.decibels:.1f} dB"
                raise GateError(self.job.source, problem, "listen to it, or use --on-risk fallback")

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Where the sampler was not trusted."""
        return merged(self._marks)

    @property
    def uncertainty(self) -> float | None:
        """How far draws are apart where somebody speaks, in decibels, on average; None for one draw or no speech."""
        return self._unsure / self._unsure_frames if self._unsure_frames else None

    def advance_seconds(self, result: StreamPiece) -> float:
        """Seconds of the recording that a piece brings it forward, overlaps and channels counted once."""
        segment = result.segment
        fresh = segment.valid if segment.last else self._plan.hop
        return fresh / self._model_rate * len(result.part.channels) / self.recording.channels

    def complete(self) -> None:
        """Check the result, which then lies whole where the writer has it. Raises RecordingError."""
        self.result.complete()

    def publish(self) -> None:
        """Bring the result to the disk and rename it into place. Raises RecordingError."""
        with self.seconds.timing("write"):
            self._stack.close()

    def discard(self) -> None:
        """Drop what was written; nothing appears under the target's name."""
        self.failed = True
        self._close_dropped()

    def _close_dropped(self) -> None:
        if self._open:
            self._open = False
            # Closing a file on a full disk fails once more, which changes nothing.
            with suppress(RecordingError, OSError):
                self._stack.__exit__(InterruptedError, InterruptedError(), None)
