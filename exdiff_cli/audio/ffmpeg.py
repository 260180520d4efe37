"""Reads what FFmpeg knows and libsndfile does not: MP4, M4A, MOV, 3GP, WebM, Matroska, WMA, AMR and raw AAC.

Writes AAC and ALAC in MP4 and Opus in WebM. A file's first bytes decide how it is taken apart, never its name, and
it is read by descriptor: what FFmpeg knows of playlists, networks and other files stays out of reach.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from exdiff_cli.audio.limits import UNLIMITED, refuse_absurd
from exdiff_cli.audio.recording import OutputFormat, Recording, Samples, opened
from exdiff_cli.errors import RecordingError

HEAD_BYTES = 16
"""So many bytes from its start tell what a file is."""

CONTAINERS = {"mov": "MP4", "matroska": "MATROSKA", "asf": "ASF", "amr": "AMR", "aac": "ADTS"}
"""What FFmpeg's demuxers are called here."""

_MATROSKA, _ASF = b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide")

_MUXERS = {"MP4": "mp4", "MATROSKA": "webm"}
_DECODERS = ("aac", "alac", "amrnb", "amrwb", "opus", "wmav2")
_ENCODERS = {"AAC": "aac", "ALAC": "alac", "OPUS": "libopus"}
KEPT = {"MP4": frozenset({"AAC", "ALAC"}), "MATROSKA": frozenset({"OPUS"})}
"""Codecs whose length is kept to the sample, by container."""

_AAC_RATES = (7_350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
_OPUS_RATES = (48_000,)  # others are decoded to this one, too
_RATES = {"AAC": _AAC_RATES, "OPUS": _OPUS_RATES}

_BIT_RATES = (6_000, 256_000)
"""A channel; a file of a few samples is mostly header, and not so many bits could be asked for."""

_USUAL_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

_TAGS = ("title", "artist", "album", "comment", "copyright", "date", "genre", "track")
_OTHER_NAMES = {"track": "tracknumber"}
"""What libsndfile calls a tag."""

_TIMED = ("mov", "matroska")
"""Containers in which each packet has an exact time of its own."""

_GAP_SECONDS = 0.1
"""Times may waver by less; FFmpeg's own resampler takes as much for a gap."""

_SILENCE_FRAMES = 1 << 16

_TOLERATED_SECONDS = 0.2
"""Containers round their lengths, to a millisecond or a packet."""


def _demuxer(head: bytes) -> str | None:
    """FFmpeg's name for what begins like this, or None for what is libsndfile's."""
    if head[4:8] in _ATOMS:
        return "mov"
    if head.startswith(_MATROSKA):
        return "matroska"
    if head.startswith(_ASF):
        return "asf"
    if head.startswith(b"#!AMR"):
        return "amr"
    # The two bits of the layer tell AAC, where they are zero, from MP3.
    return "aac" if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None


def claims(head: bytes) -> bool:
    """Whether a file that begins like this is read here."""
    return _demuxer(head) is not None


@dataclass(frozen=True)
class _Source:
    """An open file and the sound track that is read."""

    path: Path
    container: InputContainer
    stream: AudioStream

    @cached_property
    def first(self) -> av.AudioFrame:
        """The first decoded frame: what a header says of rate and channels is not what HE-AAC decodes to."""
        return next(self._frames, None) or _refuse(self.path, "holds no sound that can be decoded", "record it again")

    @cached_property
    def _frames(self) -> Iterator[av.AudioFrame]:
        return self.container.decode(self.stream)

    @property
    def promised(self) -> int | None:
        """Frames that the container says there are; None where it says nothing, or only guesses."""
        stream, rate = self.stream, self.first.sample_rate
        if self.container.format.name.startswith("mov") and stream.duration and stream.time_base:
            return round(stream.duration * stream.time_base * rate)
        return None

    def blocks(self) -> Iterator[Samples]:
        """All of the track as ``(channels, n)`` float32, up to the length that is promised."""
        left = self.promised
        for whole in self._continuous():
            block = whole[:, :left]
            left = None if left is None else left - block.shape[1]
            if block.shape[1]:
                yield block

    def _continuous(self) -> Iterator[Samples]:
        """What is decoded, with silence where a container's times leave a gap: players keep still there, too."""
        channels, done = self.first.layout.nb_channels, 0
        # Of planes, one a channel, PyAV reaches no more than eight.
        to_float = av.AudioResampler(format="flt")
        for frame in chain([self.first], self._frames):
            self._refuse_unlike(frame)
            for silence in _silences(self._gap(frame, done), channels):
                done += silence.shape[1]
                yield silence
            for converted in to_float.resample(frame):
                done += converted.samples
                yield np.ascontiguousarray(converted.to_ndarray().reshape(-1, channels).T)

    def _refuse_unlike(self, frame: av.AudioFrame) -> None:
        first = self.first
        if (frame.sample_rate, frame.layout.name) != (first.sample_rate, first.layout.name):
            _refuse(self.path, "changes its sample rate or channels midway", "convert it to WAV or FLAC first")
        if frame.is_corrupt:
            _refuse(self.path, f"is damaged at {frame.time or 0.0:.1f} s", "copy it again from its source")

    def _gap(self, frame: av.AudioFrame, done: int) -> int:
        """Samples that are missing between what was decoded so far and the time of a frame."""
        if frame.time is None or self.first.time is None or not self._is_timed:
            return 0
        missing = round((frame.time - self.first.time) * self.first.sample_rate) - done
        return missing if missing > _GAP_SECONDS * self.first.sample_rate else 0

    @property
    def _is_timed(self) -> bool:
        return self.container.format.name.startswith(_TIMED)

    def refuse_partial(self, frames: int) -> None:
        """RecordingError where so many frames are fewer than the container says."""
        seconds = frames / self.first.sample_rate
        promised = self.promised
        if promised is not None:
            whole = promised / self.first.sample_rate
        elif self._is_alone and "matroska" in self.container.format.name:
            whole = (self.container.duration or 0) / av.time_base
        else:
            return
        if seconds < whole - _TOLERATED_SECONDS:
            _refuse(self.path, f"is cut off after {seconds:.1f} of {whole:.1f} s", "copy it again from its source")

    @property
    def _is_alone(self) -> bool:
        return len(self.container.streams) == 1

    @property
    def bit_rate(self) -> int | None:
        """Of the track where it is known, or else of the whole file, if it holds nothing else; as far as it can be."""
        known = self.stream.codec_context.bit_rate or (self.container.bit_rate if self._is_alone else None)
        low, high = (rate * self.first.layout.nb_channels for rate in _BIT_RATES)
        return min(max(known, low), high) if known else None

    @property
    def layout(self) -> str:
        """FFmpeg's name for the channels, the usual one where the file only counts them."""
        layout = self.first.layout
        return layout.name if "channels" not in layout.name else _USUAL_LAYOUTS.get(layout.nb_channels, "")

    @property
    def bits(self) -> int:
        """Of a sample; lossy codecs decode to floats, of which sixteen bits count."""
        return 24 if self.first.format.name.startswith("s32") else 16

    @property
    def left_out(self) -> Iterator[str]:
        """What the file holds beside the sound that is read."""
        tracks = len(self.container.streams.audio)
        if tracks > 1:
            yield f"only the first of {tracks} sound tracks"
        if any(not stream.disposition & Disposition.attached_pic for stream in self.container.streams.video):
            yield "only the sound of a video"


def _silences(frames: int, channels: int) -> Iterator[Samples]:
    """So many frames of silence, in pieces."""
    while frames > 0:
        yield np.zeros((channels, min(frames, _SILENCE_FRAMES)), np.float32)
        frames -= _SILENCE_FRAMES


def _refuse(path: Path, problem: str, remedy: str) -> Any:
    raise RecordingError(path, problem, remedy)


def probe(path: Path, most_seconds: float = UNLIMITED) -> Recording:
    """Decode ``path`` to count it: no header is exact. Raises RecordingError where it is damaged or cut off."""
    with _decoding(path) as source:
        refuse_absurd(path, source.first.sample_rate, source.first.layout.nb_channels)
        frames, most = 0, most_seconds * source.first.sample_rate
        for block in source.blocks():
            frames += block.shape[1]
            if frames > most:
                break
        else:
            source.refuse_partial(frames)
        return Recording(
            path=path,
            sample_rate=source.first.sample_rate,
            channels=source.first.layout.nb_channels,
            frames=frames,
            container=CONTAINERS[source.container.format.name.split(",")[0]],
            subtype=source.stream.codec_context.codec.canonical_name.upper(),
            tags=_tags(source),
            layout=source.layout,
            bit_rate=source.bit_rate,
            bits=source.bits,
            left_out=tuple(source.left_out),
        )


def decode(recording: Recording, window_frames: int) -> Iterator[Samples]:
    """Windows of ``(channels, window_frames)``, the last perhaps shorter; RecordingError where one is missing."""
    with _decoding(recording.path) as source:
        done = 0
        for window in _regrouped(source.blocks(), window_frames):
            done += window.shape[1]
            yield window
        if done != recording.frames:
            _refuse(recording.path, f"gives {done} of {recording.frames} frames", "was it changed meanwhile?")


def _regrouped(blocks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """The same samples in blocks of ``size``, the last perhaps shorter."""
    held: list[Samples] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += block.shape[1]
        if count >= size:
            joined = np.concatenate(held, axis=1)
            whole = count - count % size
            yield from np.split(joined[:, :whole], whole // size, axis=1)
            held, count = [joined[:, whole:]], count - whole
    if count:
        yield np.concatenate(held, axis=1)


@contextmanager
def _decoding(path: Path) -> Iterator[_Source]:
    """Open ``path``; errors of the system and of FFmpeg, now and while reading, become RecordingError."""
    with opened(path) as raw:
        demuxer = _demuxer(os.pread(raw.fileno(), HEAD_BYTES, 0))
        try:
            with av.open(raw, "r", format=demuxer, metadata_errors="replace") as container:
                if not container.streams.audio:
                    _refuse(path, "holds no sound", "name recordings only")
                yield _Source(path, container, container.streams.audio[0])
        except av.FFmpegError as error:
            problem = f"cannot be decoded as audio ({error.strerror})"
            raise RecordingError(path, problem, "copy it again, or convert it to WAV or FLAC") from error


def _tags(source: _Source) -> tuple[tuple[str, str], ...]:
    found = {**source.container.metadata, **source.stream.metadata}
    return tuple((_OTHER_NAMES.get(name, name), found[name]) for name in _TAGS if found.get(name))


def missing_codecs() -> list[str]:
    """Which of those that are needed FFmpeg was built without."""
    needed: list[tuple[str, Literal["r", "w"]]] = [(name, "r") for name in _DECODERS]
    needed += [(name, "w") for name in _ENCODERS.values()]
    return [name for name, mode in needed if not _has(name, mode)]


def _has(codec: str, mode: Literal["r", "w"]) -> bool:
    try:
        av.Codec(codec, mode)
    except ValueError:  # PyAV's errors of the kind are ones too.
        return False
    return True


def own_format(recording: Recording) -> OutputFormat | None:
    """The recording's own format where it can be written here so that its length is kept."""
    same = OutputFormat(recording.container, recording.subtype, "FILE")
    is_kept = recording.subtype in KEPT.get(recording.container, ()) and not recording.left_out
    return same if is_kept and can_write(same, recording) else None


def can_write(output: OutputFormat, recording: Recording) -> bool:
    """Whether a format takes a recording's sample rate and channels."""
    rates = _RATES.get(output.subtype, (recording.sample_rate,))
    if recording.sample_rate not in rates or not _layout_of(recording):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=_MUXERS[output.container]) as container:
            _add_stream(container, output, recording).codec_context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _add_stream(container: OutputContainer, output: OutputFormat, recording: Recording) -> AudioStream:
    codec: Literal["aac"] = _ENCODERS[output.subtype]  # type: ignore[assignment]  # PyAV's types know a few only
    stream = container.add_stream(codec, rate=recording.sample_rate, layout=_layout_of(recording))
    bit_rate = output.bit_rate or recording.bit_rate
    if output.subtype == "ALAC":
        stream.format = "s16p" if recording.bits <= 16 else "s32p"
    elif bit_rate:
        stream.bit_rate = bit_rate
    return stream


def _layout_of(recording: Recording) -> str:
    return recording.layout or _USUAL_LAYOUTS.get(recording.channels, "")


class _Sink(io.FileIO):
    """A file that keeps what the system refused: FFmpeg passes on that there was something."""

    refused: OSError | None = None

    def write(self, content: Any, /) -> int:
        rest = memoryview(content)
        try:
            while rest:  # The system may take less than it is given.
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.refused = error
            raise
        return len(content)


class Encoder:
    """Writes one result from start to end to an open file; errors of the system come as they are."""

    def __init__(self, descriptor: int, output: OutputFormat, recording: Recording) -> None:
        self._rate, self._layout, self._done = recording.sample_rate, _layout_of(recording), 0
        self._stack = ExitStack()
        self._sink = self._stack.enter_context(_Sink(descriptor, "r+b"))
        # By default WebM has random numbers in it, and MP4 rounds its length to milliseconds.
        options = {"fflags": "+bitexact"}
        if output.container == "MP4":
            options["movie_timescale"] = str(self._rate)
        container = av.open(self._sink, "w", format=_MUXERS[output.container], options=options)
        self._container = self._stack.enter_context(container)
        own_names = {other: name for name, other in _OTHER_NAMES.items()}
        self._container.metadata.update({own_names.get(name, name): text for name, text in recording.tags})
        self._stream = _add_stream(self._container, output, recording)
        self._to_codec = av.AudioResampler(self._stream.format, self._layout, self._rate)

    def write(self, samples: Samples) -> None:
        """Append ``(channels, n)`` samples."""
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=self._layout)
        frame.sample_rate, frame.pts = self._rate, self._done
        self._done += samples.shape[1]
        with self._telling():
            self._encode(frame)

    def _encode(self, frame: av.AudioFrame | None) -> None:
        for converted in self._to_codec.resample(frame):
            self._container.mux(self._stream.encode(converted))

    def close(self) -> None:
        """Write what the codec still holds, and the index."""
        with self._telling(), self._stack.pop_all():
            if self._done:
                self._encode(None)
                self._container.mux(self._stream.encode(None))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise self._sink.refused or error from error
