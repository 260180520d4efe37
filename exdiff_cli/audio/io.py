"""Reads recordings in windows and publishes results atomically, through libsndfile.

Audio is a float32 NumPy array ``(channels, frames)`` with full scale at 1. Neither side holds more
than one window of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import TracebackType
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from exdiff_cli.errors import RecordingError
from exdiff_cli.publish import atomic, reason, writing

AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph"}
    | {".flac", ".ogg", ".oga", ".opus", ".mp3", ".gsm", ".vox"}
)
"""Suffixes, in lower case, of the files that are taken when a folder is walked."""

Samples = NDArray[np.float32]

_FLOATING = frozenset({"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III"})

_LINEAR = frozenset({"PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"})
_WAV = _LINEAR | {"PCM_U8", "ULAW", "ALAW"}

# What libsndfile 1.2.2 writes so that as many frames are read back; measured, and held by the tests. ADPCM
# and GSM pad to whole blocks, 8-bit mono AIFF and VOC to even lengths; stereo ALAC_20 comes back damaged.
_KEPT: dict[str, frozenset[str]] = {
    "WAV": _WAV,
    "WAVEX": _WAV,
    "RF64": _WAV,
    "W64": _WAV,
    "AIFF": _LINEAR,
    "AU": _LINEAR | {"PCM_S8", "ULAW", "ALAW"},
    "CAF": _LINEAR | {"PCM_S8", "ULAW", "ALAW", "ALAC_16", "ALAC_24", "ALAC_32"},
    "NIST": frozenset({"PCM_S8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"}),
    "FLAC": frozenset({"PCM_S8", "PCM_16", "PCM_24"}),
    "OGG": frozenset({"VORBIS", "OPUS"}),
    "MP3": frozenset({"MPEG_LAYER_III"}),
}

# What Asterisk and Dialogic write without any header.
_HEADERLESS = {".gsm": "GSM610", ".vox": "VOX_ADPCM"}
_HEADERLESS_RATE = 8_000

# libsndfile shortens what was cut off without an error, but logs how much the header promised.
_PROMISE = re.compile(r"(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)")
# A recorder that miscounts by its own header has lost nothing that can be heard.
_TOLERATED_BYTES = 64
# Programs that write to a pipe cannot know the length and put one of these.
_PLACEHOLDERS = (range(0x7FFF_0000, 0x8000_1000), range(0xFFFF_0000, 0x1_0000_0000))
_WAV_LIMIT = 2**32 + 2**16
_UNKNOWN_FRAMES = 2**62
_OGG_HEADER = 27
_MIRRORED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_MP3_TAGS = (b"Xing", b"Info", b"VBRI")
_MP3_TRAILER = 4_096

_READ_PROBLEMS = {
    FileNotFoundError: ("does not exist", "check the path, or whether it was moved meanwhile"),
    PermissionError: ("reading it is not permitted", "grant read permission to the user who runs this"),
}


@dataclass(frozen=True)
class Recording:
    """What the header of a file says.

    ``sample_rate`` is in Hertz, ``frames`` per channel; ``container``, ``subtype`` and ``endian`` are names
    of libsndfile; ``tags`` are the title, artist and so on; ``modified_ns`` is the file's modification
    time.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    container: str
    subtype: str
    endian: str = "FILE"
    tags: tuple[tuple[str, str], ...] = ()
    modified_ns: int | None = None

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@dataclass(frozen=True)
class OutputFormat:
    """How a result is stored; ``suffix`` is empty where the source's own format is kept."""

    container: str
    subtype: str
    endian: str
    suffix: str = ""

    @property
    def kept(self) -> bool:
        return not self.suffix

    def target(self, path: Path) -> Path:
        """``path``, with the suffix appended where it differs: ``a.gsm`` and ``a.wav`` must not collide."""
        if self.kept or path.suffix.lower() == self.suffix:
            return path
        return path.with_name(path.name + self.suffix)


# --- Reading ------------------------------------------------------------------------------------------------


def probe(path: Path) -> Recording:
    """Read the header of ``path``.

    The audio is decoded, to count it, only where a header does not know the length: FLAC from a pipe, MP3
    without a length tag. Raises RecordingError where there is no audio, or the header shows that its end is
    missing.
    """
    with _decoding(path) as (raw, source):
        _refuse_partial(path, raw, source)
        frames = _count_frames(source) if _is_estimate(raw, source) else source.frames
        if not frames:
            raise RecordingError(path, "holds no audio, only a header", "record or copy it again")
        return Recording(
            path=path,
            sample_rate=source.samplerate,
            channels=source.channels,
            frames=frames,
            container=source.format,
            subtype=source.subtype,
            endian=source.endian,
            tags=_tags(source),
            modified_ns=os.fstat(raw.fileno()).st_mtime_ns,
        )


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
        self._windows = self._decode(recording, window_frames)

    def __next__(self) -> Samples:
        return next(self._windows)

    def _decode(self, recording: Recording, window_frames: int) -> Iterator[Samples]:
        path, done = recording.path, 0
        with _decoding(path) as (raw, source):
            if source.format == "OGG":
                _refuse_damaged_pages(path, raw)
            while done < recording.frames:
                wanted = min(window_frames, recording.frames - done)
                block: Samples = source.read(wanted, dtype="float32", always_2d=True)
                if len(block) < wanted:
                    problem = f"damaged or cut off after {done + len(block)} of {recording.frames} frames"
                    raise RecordingError(path, problem, "copy it again from its source")
                done += wanted
                yield self._finite(np.ascontiguousarray(block.T))
            _refuse_rest(path, raw, source)

    def _finite(self, window: Samples) -> Samples:
        finite = np.isfinite(window)
        if not finite.all():
            self.non_finite_samples += int(np.count_nonzero(~finite))
            window[~finite] = 0.0
        return window


class _Sequential(sf.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file read or written from start to end.

    The base class seeks after every block, where MP3 loses the bits that its frames lend each other.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _decoding(path: Path) -> Iterator[tuple[BinaryIO, _Sequential]]:
    """Open ``path``; errors of the system and of libsndfile, now and while reading, become RecordingError."""
    try:
        _require_content(path)
        # By descriptor, as libsndfile would guess from the name that any text called .au is G.711.
        with path.open("rb") as raw, _open(raw, path.suffix.lower()) as source:
            yield raw, source
    except sf.LibsndfileError as error:
        problem = f"cannot be decoded as audio ({reason(error)})"
        raise RecordingError(path, problem, "copy it again, or convert it to WAV or FLAC") from error
    except OSError as error:
        unknown = f"cannot be read ({reason(error)})", "check the disk and the mount"
        problem, remedy = _READ_PROBLEMS.get(type(error), unknown)
        raise RecordingError(path, problem, remedy) from error


def _require_content(path: Path) -> None:
    status = path.stat()
    if S_ISDIR(status.st_mode):
        raise RecordingError(path, "is a folder, not a recording", "name the recordings in it")
    if not S_ISREG(status.st_mode):
        raise RecordingError(path, "is not a regular file", "copy its content to a file first")
    if not status.st_size:
        raise RecordingError(path, "is empty (zero bytes)", "record or copy it again")


def _open(raw: BinaryIO, suffix: str) -> _Sequential:
    try:
        return _Sequential(raw.fileno(), closefd=False)
    except sf.LibsndfileError:
        if suffix not in _HEADERLESS:
            raise
    os.lseek(raw.fileno(), 0, os.SEEK_SET)
    subtype = _HEADERLESS[suffix]
    return _Sequential(raw.fileno(), "r", _HEADERLESS_RATE, 1, subtype, format="RAW", closefd=False)


def _tags(source: sf.SoundFile) -> tuple[tuple[str, str], ...]:
    # "software" names the program that wrote the source, and does not become true by being copied.
    return tuple((name, text) for name, text in source.copy_metadata().items() if text and name != "software")


def _is_estimate(raw: BinaryIO, source: sf.SoundFile) -> bool:
    return source.frames >= _UNKNOWN_FRAMES or (source.format == "MP3" and not _has_length_tag(raw))


def _has_length_tag(raw: BinaryIO) -> bool:
    """Whether the first MP3 frame is the one that LAME and others write to hold the length."""
    frame = os.pread(raw.fileno(), 4_096, _id3_bytes(raw))
    return any(tag in frame for tag in _MP3_TAGS)


def _id3_bytes(raw: BinaryIO) -> int:
    """Length of the ID3v2 tag at the start; its size is a number of four digits of seven bits."""
    head = os.pread(raw.fileno(), 10, 0)
    return 10 + sum(byte << 7 * place for place, byte in enumerate(head[:5:-1])) if head[:3] == b"ID3" else 0


def _count_frames(source: sf.SoundFile) -> int:
    total = 0
    while count := len(source.read(1 << 16, dtype="float32", always_2d=True)):
        total += count
    return total


def _refuse_partial(path: Path, raw: BinaryIO, source: sf.SoundFile) -> None:
    """Raise RecordingError where libsndfile would silently give less than the recorder wrote."""
    if _is_cut_off(source):
        problem, remedy = "is cut off", "copy it again, or convert it to keep what is there"
        raise RecordingError(path, problem, remedy)
    if source.format in ("WAV", "WAVEX") and os.fstat(raw.fileno()).st_size > _WAV_LIMIT:
        raise RecordingError(path, "exceeds the 4 GiB that WAV can address", "convert it to FLAC, W64 or RF64")


def _is_cut_off(source: sf.SoundFile) -> bool:
    promises = ((int(promised), int(present)) for promised, present in _PROMISE.findall(source.extra_info))
    return any(
        promised - present > _TOLERATED_BYTES and not any(promised in sizes for sizes in _PLACEHOLDERS)
        for promised, present in promises
    )


def _refuse_damaged_pages(path: Path, raw: BinaryIO) -> None:
    """Raise RecordingError for an Ogg page that is incomplete or fails its check (RFC 3533, section 6).

    libsndfile drops such pages, and the first or last of them without any error.
    """
    offset, size = _id3_bytes(raw), os.fstat(raw.fileno()).st_size
    while offset < size:
        header = os.pread(raw.fileno(), _OGG_HEADER + 255, offset)
        lacing = header[_OGG_HEADER : _OGG_HEADER + header[26]] if len(header) > 26 else b""
        page = os.pread(raw.fileno(), _OGG_HEADER + len(lacing) + sum(lacing), offset)
        if page[:4] != b"OggS" or _ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
            raise RecordingError(
                path, f"damaged or cut off at byte {offset} of {size}", "copy it again from its source"
            )
        offset += len(page)


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 with the bits in the other order than zlib's, from zero and not inverted."""
    blank = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(blank.translate(_MIRRORED_BITS), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _refuse_rest(path: Path, raw: BinaryIO, source: sf.SoundFile) -> None:
    """Raise RecordingError for MP3 files joined end to end, or of varying bit rate with no length tag."""
    rest = os.fstat(raw.fileno()).st_size - os.lseek(raw.fileno(), 0, os.SEEK_CUR)
    if source.format == "MP3" and rest > _MP3_TRAILER:
        raise RecordingError(path, "holds more audio than its header says", "convert it to WAV or FLAC first")


# --- Writing ------------------------------------------------------------------------------------------------


def writable_format(recording: Recording) -> OutputFormat:
    """The format for the result of ``recording``: its own where that keeps the length to the sample.

    Otherwise WAV, with the source's subtype where WAV has it (mu-law from VOC), else PCM_16 (ADPCM, GSM).
    """
    same = OutputFormat(recording.container, recording.subtype, recording.endian)
    if recording.subtype in _KEPT.get(recording.container, ()) and _can_write(same, recording):
        return same
    subtype = recording.subtype if recording.subtype in _KEPT["WAV"] else "PCM_16"
    return OutputFormat("WAV", subtype, "FILE", ".wav")


def _can_write(output: OutputFormat, recording: Recording) -> bool:
    try:
        _create(BytesIO(), output, recording).close()
    except sf.LibsndfileError:
        return False
    return True


def _create(file: int | BytesIO, output: OutputFormat, recording: Recording) -> _Sequential:
    return _Sequential(
        file, "w", recording.sample_rate, recording.channels, output.subtype, output.endian, output.container
    )


class AtomicWriter:
    """Writes the result of ``recording``, which appears under its name whole or not at all.

    A context manager: leaving it checks the length, brings the file to the disk and renames it from
    ``temporary`` to ``target``; an exception leaves nothing behind. ``target`` may end in another suffix than
    was asked for, see ``format``. The result has the sample rate, channels, tags and modification time of
    ``recording``.

    ``clipped_samples`` counts samples beyond full scale, which integer subtypes cannot hold. RecordingError
    is raised where the disk or the format refuses, or the length is not that of ``recording``.
    """

    def __init__(self, target: Path, recording: Recording, output: OutputFormat | None = None) -> None:
        self.recording = recording
        self.format = output or writable_format(recording)
        self.target = self.format.target(target)
        self.frames_written = 0
        self.clipped_samples = 0
        self.temporary: Path
        self._file: _Sequential
        self._descriptor: int
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
        with writing(self.target):
            try:
                self._file.write(self._clip(samples).T)
            except sf.LibsndfileError:
                # It does not tell why; the system does, to whoever writes on.
                os.write(self._descriptor, bytes(1 << 16))
                raise
        self.frames_written += samples.shape[-1]

    def complete(self) -> None:
        """Close and check what was written, which lies whole at ``temporary`` then. Raises RecordingError."""
        with writing(self.target):
            self._file.close()
            self._check_length()
            self._copy_modification_time()

    def _clip(self, samples: Samples) -> Samples:
        if self.format.subtype in _FLOATING:
            return samples
        self.clipped_samples += int(np.count_nonzero(np.abs(samples) > 1.0))
        return np.clip(samples, -1.0, 1.0)

    @contextmanager
    def _publishing(self) -> Iterator[None]:
        with atomic(self.target) as self.temporary:
            with writing(self.target):
                # Not by name, as libsndfile would not tell why it cannot be opened.
                self._descriptor = os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                self._file = _create(self._descriptor, self.format, self.recording)
                self._copy_tags()
            try:
                yield
                if not self._file.closed:
                    self.complete()
            finally:
                with writing(self.target):
                    self._file.close()

    def _copy_tags(self) -> None:
        for name, text in self.recording.tags:
            with suppress(sf.LibsndfileError):  # not every container has room for every tag
                setattr(self._file, name, text)

    def _check_length(self) -> None:
        expected, written = self.recording.frames, self.frames_written
        if written != expected:
            raise RecordingError(self.target, f"{written} of {expected} frames were written", "run it again")
        with self.temporary.open("rb") as raw, _Sequential(raw.fileno(), closefd=False) as stored:
            if stored.frames != expected:
                problem = f"{stored.format} {stored.subtype} stored {stored.frames} of {expected} frames"
                raise RecordingError(self.target, problem, "convert the source to WAV or FLAC first")

    def _copy_modification_time(self) -> None:
        if self.recording.modified_ns is not None:
            os.utime(self.temporary, ns=(self.recording.modified_ns, self.recording.modified_ns))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the bytes of ``path``, in constant memory. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
