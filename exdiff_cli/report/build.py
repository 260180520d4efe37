"""Makes a recording's quality report once its result is complete, before it gets its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from exdiff_cli import __version__
from exdiff_cli.audio.io import file_sha256, probe, read_windows
from exdiff_cli.audio.recording import Recording, Samples
from exdiff_cli.audio.resample import StreamResampler, resampled_length
from exdiff_cli.bundle import Bundle
from exdiff_cli.guard import Mark
from exdiff_cli.measures import FLOOR_DBFS, SAMPLE_RATE, Floats
from exdiff_cli.measures.activity import levelled_activity
from exdiff_cli.measures.dnsmos import WINDOW_SAMPLES, Dnsmos, choose_windows, fill_window, mean_score
from exdiff_cli.measures.meter import Meter
from exdiff_cli.measures.rated import LEAST_SECONDS, SUSPECT_DECIBELS, is_drawn, rated_windows
from exdiff_cli.measures.talk import Talk, fall_of_speech, measure_talk
from exdiff_cli.report.sidecar import AudioFile, DnsmosMeasures, GuardMark, Measures, QualityReport, TakenFrom
from exdiff_cli.settings import OnRisk, Ratings, Settings
from exdiff_cli.stream import RecordingStream

WINDOW_SECONDS = -(-WINDOW_SAMPLES // SAMPLE_RATE)
NOTICE = "enhanced sound is partly generated: it is no evidence of what was said; the original is"
FILTERED = "enhanced sound is filtered, and none of it generated; the original is the evidence"
UNRATED = f"too short to be rated by DNSMOS: shorter than {LEAST_SECONDS:g} s"
NOT_DRAWN = "not rated by DNSMOS: it is one of the short recordings that others stand for (--ratings sampled)"
KEPT = "the recording itself, not enhanced"


def build_report(
    stream: RecordingStream, settings: Settings, bundle: Bundle, is_suspect: bool = False
) -> QualityReport:
    """Score the original and the complete result on the same windows and describe both.

    Heard is the mean of the channels, or the loudest of them where those of the original cancel each other. One
    that ``is_suspect`` is rated however short it is.
    """
    with stream.seconds.timing("score"):
        source, result = stream.recording, probe(stream.writer.temporary)
        samples = resampled_length(source.frames, source.sample_rate, SAMPLE_RATE)
        starts = choose_windows(stream.before.profile().energy, samples)
        loudest = stream.before.loudest(starts, WINDOW_SECONDS)
        heard = Heard.of(cut_windows(source, starts, loudest), stream.speech)
        made = Heard.of([window / stream.result.gain for window in cut_windows(result, starts, loudest)])
        rated = _rated(stream, settings, heard, made, is_suspect)
        before, after = _measures(stream.before, heard, rated), _measures(stream.after, made, rated)
    return QualityReport(
        tool_version=__version__,
        input=_describe(source, stream.content.sha256, source.path),
        output=_describe(result, file_sha256(result.path), stream.writer.target),
        before=before,
        after=after,
        changes=tuple(stream.changes),
        guard=tuple(_describe_mark(mark) for mark in stream.marks),
        uncertainty_db=None if stream.uncertainty is None else round(stream.uncertainty, 2),
        taken_from=_taken_from(stream),
        settings={"bundle": bundle.name, **settings.as_dict()},
        settings_key=settings.cache_key(),
        weights_sha256=bundle.weights_sha256,
        seed=settings.seed,
        seconds={stage: round(seconds, 4) for stage, seconds in stream.seconds.items()},
        real_time_factor=round(sum(stream.seconds.values()) / source.seconds, 4),
        notes=(_notice(stream),) if rated else (_notice(stream), _why_unrated(source)),
    )


def _taken_from(stream: RecordingStream) -> TakenFrom:
    if stream.is_original:
        return TakenFrom.ORIGINAL
    return TakenFrom.DIFFUSE if stream.settings.sampler.steps else TakenFrom.EXTRACT


def _notice(stream: RecordingStream) -> str:
    if stream.is_original:
        return KEPT
    return NOTICE if stream.settings.is_generative else FILTERED


def _why_unrated(recording: Recording) -> str:
    return UNRATED if recording.seconds < LEAST_SECONDS else NOT_DRAWN


def _describe_mark(mark: Mark) -> GuardMark:
    return GuardMark(
        start_s=mark.start, end_s=mark.end, channels=mark.channels, reason=mark.reason, decibels=mark.decibels
    )


def _describe(recording: Recording, sha256: str, path: Path) -> AudioFile:
    return AudioFile(
        path=str(path),
        sha256=sha256,
        bytes=Path(recording.path).stat().st_size,
        sample_rate=recording.sample_rate,
        channels=recording.channels,
        frames=recording.frames,
        container=recording.container,
        subtype=recording.subtype,
        duration_s=recording.seconds,
    )


@dataclass(frozen=True)
class Heard:
    """Windows ``(samples,)`` at 16 kHz of one side of a run, and the detector's probabilities of speech in each.

    Of a result without the gain that was asked for: DNSMOS rates loudness too, and that alone is no harm.
    """

    windows: list[Samples]
    speech: list[Floats]

    @classmethod
    def of(cls, windows: list[Samples], known: Floats | None = None) -> Heard:
        """``known`` has the probabilities of a recording that is one window, if the run has found them."""
        return cls(windows, [levelled_activity(window) for window in windows] if known is None else [known])


def _rated(stream: RecordingStream, settings: Settings, heard: Heard, made: Heard, is_suspect: bool) -> list[int]:
    """The windows that DNSMOS rates; none of what is too short for it, or others stand for, and not suspect.

    What the guard found makes suspect where it was left as it was.
    """
    seconds = stream.recording.seconds
    is_left = bool(stream.marks) and settings.on_risk is OnRisk.FLAG
    is_suspect = is_suspect or is_left or _fell(heard, made) > SUSPECT_DECIBELS
    is_passed_over = settings.ratings is Ratings.SAMPLED and not is_drawn(stream.content.sha256, seconds)
    if (seconds < LEAST_SECONDS or is_passed_over) and not is_suspect:
        return []
    return rated_windows(len(heard.windows), seconds)


def _fell(heard: Heard, made: Heard) -> float:
    return fall_of_speech(heard.windows, made.windows, heard.speech)


def _measures(meter: Meter, heard: Heard, rated: list[int]) -> Measures:
    profile = meter.profile()
    score, talk = None, Talk(0.0, None)
    if profile.peak_dbfs > FLOOR_DBFS:
        score = mean_score(Dnsmos().score(fill_window(heard.windows[index]) for index in rated)) if rated else None
        talk = measure_talk(heard.windows, heard.speech)
    return Measures(
        dnsmos=DnsmosMeasures(**asdict(score)) if score else None,
        loudness_lufs=meter.loudness(),
        noise_floor_dbfs=profile.noise_floor_dbfs,
        peak_dbfs=profile.peak_dbfs,
        clipped_share=profile.clipped_share,
        true_peak_dbfs=meter.true_peak(),
        bandwidth_hz=meter.bandwidth(),
        snr_db=talk.snr_db,
        speech_share=talk.speech_share,
    )


def cut_windows(recording: Recording, starts: list[int], loudest: Mapping[int, int]) -> list[Samples]:
    """What of ``recording`` the windows from ``starts`` seconds on hold, mono at 16 kHz, at most a window each.

    ``loudest`` has the channel to hear, by start, of windows of which that is not the mean of all. Reads from start to
    end, one second at a time: not every format can seek exactly.
    """
    parts: list[list[Samples]] = [[] for _ in starts]
    for second, window in enumerate(read_windows(recording, recording.sample_rate)):
        for start, part in zip(starts, parts, strict=True):
            if start <= second < start + WINDOW_SECONDS:
                heard = window[[loudest[start]]] if start in loudest else window.mean(axis=0, keepdims=True)
                part.append(heard)
    return [_resampled(np.concatenate(part, axis=1), recording.sample_rate)[:WINDOW_SAMPLES] for part in parts]


def _resampled(samples: Samples, rate: int) -> Samples:
    resampler = StreamResampler(rate, SAMPLE_RATE)
    return np.concatenate((resampler.push(samples), resampler.flush()), axis=1)[0]
