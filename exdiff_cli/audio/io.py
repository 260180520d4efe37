"""Reads recordings in windows and publishes results atomically, whatever they are stored as.

Two libraries do it, each in a module of its own with the same functions; a file's first bytes say whose it is.
Neither side holds more than one window of audio.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE
from types import TracebackType

import numpy as np

from exdiff_cli.audio import ffmpeg, sndfile
from exdiff_cli.audio.formats import Encoder, as_it_is, codecs_of
from exdiff_cli.audio.limits import UNLIMITED, refuse_endless
from exdiff_cli.audio.metadata import copy_metadata, is_copied
from exdiff_cli.audio.provenance import NAME, Provenance, read_provenance, tag_of, write_provenance
from exdiff_cli.audio.recording import OutputFormat, Recording, Samples, opened
from exdiff_cli.errors import RecordingError
from exdiff_cli.publish import atomic, writing

AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph"}
    | {".flac", ".ogg", ".oga", ".opus", ".mp3", ".gsm", ".vox"}
    | {".m4a", ".m4b", ".aac", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".amr", ".awb", ".wma", ".asf"}
    | {".webm", ".mkv", ".mka"}
)
"""Suffixes, in lower case, of the files that are taken when a folder is walked."""


def probe(path: Path, most_hours: float = UNLIMITED) -> Recording:
    """What a file holds. Raises RecordingError where there is no audio, too much of it, or its end is missing.

    The audio is decoded, to count it, where a header does not know its length to the sample: FLAC from a pipe, MP3
    without a length tag, and what FFmpeg reads.
    """
    with opened(path) as raw:
        is_ffmpegs = ffmpeg.claims(os.pread(raw.fileno(), ffmpeg.HEAD_BYTES, 0))
        status = os.fstat(raw.fileno())
    found = (ffmpeg if is_ffmpegs else sndfile).probe(path, 3600 * most_hours)
    refuse_endless(found, most_hours)
    return replace(found, modified_ns=status.st_mtime_ns, mode=S_IMODE(status.st_mode) & 0o777)


def read_windows(recording: Recording, window_frames: int) -> WindowReader:
    """Iterate over ``recording`` in float32 windows ``(channels, window_frames)``; the last may be shorter.

    Raises RecordingError where fewer frames can be decoded than the header promises.
    """
    return WindowReader(recording, window_frames)


class WindowReader(Iterator[Samples]):
    """Windows of one recording, decoded as they are asked for.

    ``non_finite_samples`` counts what was not a number, or infinite, and has been replaced by zero so far.
    """

    def __init__(self, recording: Recording, window_frames: int) -> None:
        if window_frames < 1:
            raise ValueError(f"a window needs at least one frame, not {window_frames}")
        self.non_finite_samples = 0
        self._windows = codecs_of(recording.container).decode(recording, window_frames)

    def __next__(self) -> Samples:
        return self._finite(next(self._windows))

    def _finite(self, window: Samples) -> Samples:
        finite = np.isfinite(window)
        if not finite.all():
            self.non_finite_samples += int(np.count_nonzero(~finite))
            window[~finite] = 0.0
        return window


class AtomicWriter:
    """Writes the result of ``recording``, which appears under its name whole or not at all.

    A context manager: leaving it checks the length, brings the file to the disk and renames it from
    ``temporary`` to ``target``; an exception leaves nothing behind. ``target`` may end in another suffix than
    was asked for, see ``format``. The result has the sample rate, channels, tags, permissions and, with ``keep_time``,
    the modification time of ``recording``.

    Samples beyond full scale are clipped where the format does not hold them. ``left_out`` says what of the metadata
    could not be kept. With ``provenance`` the file is tagged with it, behind what the recording says of its own;
    ``untagged`` says why it is not. RecordingError is raised where the disk or the format refuses, or the length is not
    that of ``recording``.
    """

    def __init__(
        self,
        target: Path,
        recording: Recording,
        output: OutputFormat | None = None,
        keep_time: bool = True,
        provenance: Provenance | None = None,
    ) -> None:
        self.recording = recording
        self.format = output or as_it_is(recording)
        self.target = self.format.target(target)
        self.frames_written = 0
        self.left_out: str | None = None
        self.untagged: str | None = None
        self.temporary: Path
        self._provenance = provenance
        self._keep_time = keep_time
        self._encoder: Encoder | None = None
        self._session: AbstractContextManager[None]

    def __enter__(self) -> AtomicWriter:
        self._session = self._publishing()
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    def write(self, samples: Samples) -> None:
        """Append ``(channels, n)`` samples; RecordingError where one is not finite."""
        if not np.isfinite(samples).all():
            raise RecordingError(
                self.target, "the enhanced audio is not finite", "check the model bundle and the device"
            )
        assert self._encoder is not None
        with writing(self.target):
            self._encoder.write(samples if self.format.is_floating else samples.clip(-1.0, 1.0))
        self.frames_written += samples.shape[-1]

    def touch(self) -> None:
        """Show whoever looks for what a killed run left that this is still being made."""
        with writing(self.target):
            os.utime(self.temporary)

    def complete(self) -> None:
        """Close and check what was written, which lies whole at ``temporary`` then. Raises RecordingError."""
        self._close()
        if is_copied(self.recording, self.format):
            self.left_out = copy_metadata(self.recording, self.temporary)
        if self._provenance is not None:
            kind = self.format.container, self.format.subtype
            self.untagged = write_provenance(self.temporary, *kind, self._tag(self._provenance))
        self._check_length()
        with writing(self.target):
            self._copy_attributes()

    @contextmanager
    def _publishing(self) -> Iterator[None]:
        with atomic(self.target) as self.temporary:
            with writing(self.target):
                # Not by name, as libsndfile would not tell why it cannot be opened.
                descriptor = os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                self._encoder = self._open_encoder(descriptor)
            try:
                yield
                if self._encoder is not None:
                    self.complete()
            finally:
                self._close()

    def _open_encoder(self, descriptor: int) -> Encoder:
        tags = () if is_copied(self.recording, self.format) else self.recording.tags
        if self._provenance is not None and self.format.container == "MATROSKA":
            tags = (*tags, (NAME, self._tag(self._provenance)))
        return codecs_of(self.format.container).Encoder(descriptor, self.format, replace(self.recording, tags=tags))

    def _tag(self, latest: Provenance) -> str:
        recording = self.recording
        return tag_of(read_provenance(recording.path, recording.container, recording.subtype), latest)

    def _close(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            with writing(self.target):
                encoder.close()

    def _check_length(self) -> None:
        expected, written = self.recording.frames, self.frames_written
        if written != expected:
            raise RecordingError(self.target, f"{written} of {expected} frames were written", "run it again")
        stored = probe(self.temporary)
        if stored.frames != expected:
            problem = f"{stored.container} {stored.subtype} stored {stored.frames} of {expected} frames"
            raise RecordingError(self.target, problem, "convert the source to WAV or FLAC first")

    def _copy_attributes(self) -> None:
        if self.recording.mode is not None:
            self.temporary.chmod(self.recording.mode)
        if self.recording.modified_ns is not None and self._keep_time:
            os.utime(self.temporary, ns=(self.recording.modified_ns, self.recording.modified_ns))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the bytes of ``path``, in constant memory. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
