"""Every format that is read, at every usual rate and layout, through a whole run: docs/formats.md is what came of it.

    python tests/format_matrix.py docs/formats.md

A cell holds the rates, in kilohertz, at which a recording of that format comes out with its rate, channels, length and
tags, and as loud as it was within 1 LU; what does not is named with its reason.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import av
import numpy as np
import soundfile
from recordings import DATA, encode

from exdiff_cli.audio.io import AUDIO_SUFFIXES, probe
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.resample import StreamResampler
from exdiff_cli.bundle import load_bundle
from exdiff_cli.engine import Listener, Outcome, enhance_all
from exdiff_cli.errors import RecordingError
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.settings import DEFAULT_BUNDLE, Resources, Settings

RATES = (8_000, 16_000, 22_050, 44_100, 48_000, 96_000)
LAYOUTS = {"mono": 1, "stereo": 2, "5.1": 6}
TITLE = "Schicht 3"
LOUDNESS_LU = 1.0
FFMPEG = [
    ("MP4", "AAC", "ipod", "aac"),
    ("MP4", "ALAC", "ipod", "alac"),
    ("MP4", "PCM_S16LE", "mov", "pcm_s16le"),
    ("MP4", "PCM_S24LE", "mov", "pcm_s24le"),
    ("MP4", "MP3", "mp4", "libmp3lame"),
    ("MP4", "AC3", "mp4", "ac3"),
    ("MP4", "OPUS", "mp4", "libopus"),
    ("MP4", "AMR_NB", "3gp", "libopencore_amrnb"),
    ("MATROSKA", "OPUS", "webm", "libopus"),
    ("MATROSKA", "FLAC", "matroska", "flac"),
    ("MATROSKA", "AAC", "matroska", "aac"),
    ("MATROSKA", "MP3", "matroska", "libmp3lame"),
    ("MATROSKA", "PCM_S16LE", "matroska", "pcm_s16le"),
    ("ADTS", "AAC", "adts", "aac"),
    ("AMR", "AMR_NB", "amr", "libopencore_amrnb"),
    ("ASF", "WMAV1", "asf", "wmav1"),
    ("ASF", "WMAV2", "asf", "wmav2"),
]
SKIPPED = frozenset({"RAW", "SD2"})
"""Without a header, or with it in another file."""


@dataclass(frozen=True)
class Made:
    """One recording of the matrix."""

    path: Path
    container: str
    subtype: str
    layout: str
    rate: int
    tagged: bool


def voice(rate: int, channels: int) -> Samples:
    """Clean speech of two seconds, a little quieter in every further channel."""
    clean = soundfile.read(DATA / "clean.wav", dtype="float32", always_2d=True)[0].T
    resampler = StreamResampler(16_000, rate)
    samples = np.concatenate([resampler.push(clean), resampler.flush()], axis=1)
    return np.concatenate([samples * 0.9**channel for channel in range(channels)]).astype(np.float32)


def make_all(folder: Path) -> Iterator[Made]:
    """Write the recordings; what a format cannot hold is left out."""
    for container in sorted(set(soundfile.available_formats()) - SKIPPED):
        suffix = f".{container.lower()}"
        suffix = suffix if suffix in AUDIO_SUFFIXES else ".wav"
        for subtype in soundfile.available_subtypes(container):
            for layout, channels, rate in every_shape():
                path = folder / f"{container}-{subtype}-{layout}-{rate}{suffix}"
                if by_libsndfile(path, container, subtype, channels, rate):
                    yield Made(path, container, subtype, layout, rate, has_title(path))
    for container, subtype, muxer, codec in FFMPEG:
        for layout, _, rate in every_shape():
            path = folder / f"{container}-{subtype}-{muxer}-{layout}-{rate}.m4a"
            if by_ffmpeg(path, muxer, codec, layout, rate):
                # It writes titles into 3GP that it does not find again.
                tagged = has_title(path) and bool(probe(path).tags)
                yield Made(path, container, subtype, layout, rate, tagged)


def every_shape() -> Iterator[tuple[str, int, int]]:
    for layout, channels in LAYOUTS.items():
        for rate in RATES:
            yield layout, channels, rate


def by_libsndfile(path: Path, container: str, subtype: str, channels: int, rate: int) -> bool:
    """Write a recording; False where there is none such, or none that libsndfile itself can read."""
    samples = voice(rate, channels)
    try:
        with soundfile.SoundFile(path, "w", rate, channels, subtype, format=container) as file:
            with suppress(soundfile.LibsndfileError):
                file.title = TITLE
            file.write(samples.T)
        with soundfile.SoundFile(path) as file:
            is_same = (file.samplerate, file.channels, file.format) == (rate, channels, container)
            if is_same and file.frames >= samples.shape[1] - 1 and len(file.read()) == file.frames:
                return True
    except (soundfile.LibsndfileError, ValueError):
        pass
    path.unlink(missing_ok=True)
    return False


def by_ffmpeg(path: Path, muxer: str, codec: str, layout: str, rate: int) -> bool:
    """Write a recording; False where there is none such, or its rate has become another one, as Opus has but one."""
    try:
        encode(path, muxer, codec, rate, layout, voice(rate, LAYOUTS[layout]))
        if probe(path).sample_rate == rate:
            return True
    except (av.FFmpegError, RecordingError, ValueError):
        pass
    path.unlink(missing_ok=True)
    return False


def has_title(path: Path) -> bool:
    """Tags are plain text in every format that has any."""
    return TITLE.encode() in path.read_bytes()


def enhance(folder: Path, out: Path) -> dict[Path, Outcome]:
    """What became of each recording, with the shipped models at one step."""
    setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])  # noqa: B010
    bundle, found = load_bundle(DEFAULT_BUNDLE), dict[Path, Outcome]()
    settings = Settings(replace(bundle.sampler, steps=1))
    listener = Listener(ended=lambda outcome: found.update({outcome.job.source: outcome}))
    enhance_all([folder], out, bundle, settings, Resources(), listener)
    return found


def problem(made: Made, outcome: Outcome) -> str:
    """What is wrong with a result; empty where nothing is."""
    report = outcome.report
    if report is None or outcome.output is None:
        return str(outcome.error).removeprefix(f"{made.path}: ")
    before, after = report.input, report.output
    shape = [(file.sample_rate, file.channels, file.frames) for file in (before, after)]
    if shape[0] != shape[1]:
        return f"{shape[0]} became {shape[1]}"
    loudness = [measures.loudness_lufs or 0.0 for measures in (report.before, report.after)]
    if abs(loudness[0] - loudness[1]) > LOUDNESS_LU:
        return f"{loudness[0]:.1f} LUFS became {loudness[1]:.1f}"
    if made.tagged and not has_title(outcome.output):
        return "the title is lost"
    return ""


def table(made: list[Made], found: dict[Path, Outcome]) -> Iterator[str]:
    """A row a format, in Markdown, and behind it what went wrong."""
    yield "| container | codec | stored as | " + " | ".join(LAYOUTS) + " | title |"
    yield "| --- | --- | --- |" + " --- |" * (len(LAYOUTS) + 1)
    problems = []
    for (container, subtype), group in groupby(made, lambda each: (each.container, each.subtype)):
        rows = list(group)
        wrong = {each.path: problem(each, found[each.path]) for each in rows}
        problems += [
            f"- {container} {subtype}, {r.layout}, {r.rate} Hz: {wrong[r.path]}" for r in rows if wrong[r.path]
        ]
        cells = [
            " ".join(f"{each.rate / 1000:g}" for each in rows if each.layout == layout and not wrong[each.path]) or "-"
            for layout in LAYOUTS
        ]
        stored = {stored_as(found[each.path]) for each in rows} - {""}
        title = "kept" if any(each.tagged for each in rows) else "-"
        yield f"| {container} | {subtype} | {', '.join(sorted(stored))} | {' | '.join(cells)} | {title} |"
    yield ""
    yield f"{len(made)} recordings; {len(problems)} came out otherwise than they should."
    if problems:
        yield from ["", *problems]


def stored_as(outcome: Outcome) -> str:
    report = outcome.report
    if report is None:
        return ""
    return f"{report.output.container} {report.output.subtype}" if report.is_converted else "itself"


HEAD = """# Formats

What exdiff reads, and what comes out. Each recording of two seconds of clean speech went through a whole run with
`--preset fast`. A cell holds the rates, in kilohertz, at which a recording of that format comes out with its rate,
channels, length and title, and as loud as it went in within 1 LU. Where a rate is missing, the format has none such, or
its library writes none.

Made by `python tests/format_matrix.py docs/formats.md`, which `make soak` compares with this page.
"""


def main(target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        made = list(make_all(source))
        found = enhance(source, Path(folder, "out"))
        Path(target).write_text("\n".join([HEAD, *table(made, found), ""]))


if __name__ == "__main__":
    main(sys.argv[1])
