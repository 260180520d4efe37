"""Reads and writes what libsndfile knows: WAV and its kin, FLAC, OGG, Opus, MP3, AIFF, AU, CAF and more."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile as sf

from exdiff_cli.audio import mp3_tags
from exdiff_cli.audio.limits import UNLIMITED, refuse_absurd
from exdiff_cli.audio.recording import OutputFormat, Recording, Samples, opened
from exdiff_cli.errors import RecordingError
from exdiff_cli.publish import reason

_LINEAR = frozenset({"PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"})
_WAV = _LINEAR | {"PCM_U8", "ULAW", "ALAW"}

# What libsndfile 1.2.2 writes so that as many frames are read back; measured, and held by the tests. ADPCM
# and GSM pad to whole blocks, 8-bit mono AIFF and VOC to even lengths; stereo ALAC_20 comes back damaged.
KEPT: dict[str, frozenset[str]] = {
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

_NEEDED = ("WAV", "FLAC", "OGG", "MP3")

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
_OGG_HEADER, _OGG_FIRST = 27, 0x02
_OGG_BEFORE_SOUND = (bytes(8), b"\xff" * 8)  # positions of pages in which nothing can be heard, or nothing ends
_MIRRORED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_OPUS_BIT_RATES = (6_000, 256_000)  # a channel
_MP3_BIT_RATES = {32_000: (32_000, 320_000), 16_000: (8_000, 160_000), 0: (8_000, 64_000)}
_HIGHEST_LEVEL = 0.99  # libsndfile refuses 1 for MP3
_MP3_TAGS = (b"Xing", b"Info", b"VBRI")
_MP3_TRAILER = 4_096


def probe(path: Path, most_seconds: float = UNLIMITED) -> Recording:
    """Read the header of ``path``.

    The audio is decoded, to count it, only where a header does not know the length: FLAC from a pipe, MP3
    without a length tag. Raises RecordingError where there is no audio, or the header shows that its end is
    missing.
    """
    with _decoding(path) as (raw, source):
        _refuse_partial(path, raw, source)
        refuse_absurd(path, source.samplerate, source.channels)
        most = most_seconds * source.samplerate
        frames = _count_frames(source, most) if _is_estimate(raw, source) else source.frames
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
            bits=_bits(source.subtype),
            bit_rate=_bit_rate(raw, source.subtype, frames / source.samplerate),
        )


def decode(recording: Recording, window_frames: int) -> Iterator[Samples]:
    """Windows of ``(channels, window_frames)``, the last perhaps shorter; RecordingError where one is missing."""
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
            yield np.ascontiguousarray(block.T)
        _refuse_rest(path, raw, source)


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
        # By descriptor, as libsndfile would guess from the name that any text called .au is G.711.
        with opened(path) as raw, _open(raw, path.suffix.lower()) as source:
            yield raw, source
    except sf.LibsndfileError as error:
        problem = f"cannot be decoded as audio ({reason(error)})"
        raise RecordingError(path, problem, "copy it again, or convert it to WAV or FLAC") from error


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


def _bit_rate(raw: BinaryIO, subtype: str, seconds: float) -> int | None:
    """The mean of a lossy codec, as far as tags and pictures do not count."""
    if subtype not in ("MPEG_LAYER_III", "OPUS"):
        return None
    tags = mp3_tags.head_bytes(raw) + mp3_tags.tail_bytes(raw) if subtype == "MPEG_LAYER_III" else _ogg_head_bytes(raw)
    return round(8 * (os.fstat(raw.fileno()).st_size - tags) / seconds)


def _bits(subtype: str) -> int:
    """Of PCM_24 and ALAC_20 as their names say; what is not called so has no more than 16 that count."""
    kind, _, bits = subtype.rpartition("_")
    return int(bits) if kind in ("PCM", "ALAC") and bits.isdigit() else 16


def _is_estimate(raw: BinaryIO, source: sf.SoundFile) -> bool:
    return source.frames >= _UNKNOWN_FRAMES or (source.format == "MP3" and not _has_length_tag(raw))


def _has_length_tag(raw: BinaryIO) -> bool:
    """Whether the first MP3 frame is the one that LAME and others write to hold the length."""
    frame = os.pread(raw.fileno(), 4_096, mp3_tags.head_bytes(raw))
    return any(tag in frame for tag in _MP3_TAGS)


def _count_frames(source: sf.SoundFile, most: float) -> int:
    """How many there are, or more than ``most``."""
    total = 0
    while total <= most and (count := len(source.read(1 << 16, dtype="float32", always_2d=True))):
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

    libsndfile drops such pages, and the first or last of them without any error; likewise all that follows where a
    second stream begins behind the first.
    """
    offset, size = mp3_tags.head_bytes(raw), os.fstat(raw.fileno()).st_size
    has_sound = False
    for page in _ogg_pages(raw, offset):
        if page[:4] != b"OggS" or _ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
            raise RecordingError(
                path, f"damaged or cut off at byte {offset} of {size}", "copy it again from its source"
            )
        is_first = bool(page[5] & _OGG_FIRST)
        if is_first and has_sound:
            raise RecordingError(path, "holds several recordings end to end", "split it, or convert it to WAV or FLAC")
        has_sound |= not is_first
        offset += len(page)


def _ogg_pages(raw: BinaryIO, offset: int) -> Iterator[bytes]:
    """What lies from ``offset`` on, page by page; what is no page ends it."""
    while header := os.pread(raw.fileno(), _OGG_HEADER + 255, offset):
        lacing = header[_OGG_HEADER : _OGG_HEADER + header[26]] if len(header) > 26 else b""
        page = os.pread(raw.fileno(), _OGG_HEADER + len(lacing) + sum(lacing), offset)
        yield page
        if page[:4] != b"OggS":
            return
        offset += len(page)


def _number_by_content(raw: BinaryIO) -> None:
    """Give an Ogg stream a serial number that follows from what it holds: libsndfile's is drawn by chance."""
    number = 0
    for page in _ogg_pages(raw, 0):
        number = zlib.crc32(page[_OGG_HEADER:], number)
    offset = 0
    for page in _ogg_pages(raw, 0):
        renumbered = page[:14] + number.to_bytes(4, "little") + page[18:22] + bytes(4) + page[26:]
        checked = renumbered[:22] + _ogg_checksum(renumbered).to_bytes(4, "little") + renumbered[26:]
        os.pwrite(raw.fileno(), checked, offset)
        offset += len(page)


def _ogg_head_bytes(raw: BinaryIO) -> int:
    """Length of the pages before the sound, where tags and pictures are."""
    pages = takewhile(lambda page: page[6:14] in _OGG_BEFORE_SOUND, _ogg_pages(raw, mp3_tags.head_bytes(raw)))
    return mp3_tags.head_bytes(raw) + sum(map(len, pages))


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 with the bits in the other order than zlib's, from zero and not inverted."""
    blank = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(blank.translate(_MIRRORED_BITS), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _refuse_rest(path: Path, raw: BinaryIO, source: sf.SoundFile) -> None:
    """Raise RecordingError for MP3 files joined end to end, or of varying bit rate with no length tag."""
    rest = os.fstat(raw.fileno()).st_size - os.lseek(raw.fileno(), 0, os.SEEK_CUR)
    if source.format == "MP3" and rest - mp3_tags.tail_bytes(raw) > _MP3_TRAILER:
        raise RecordingError(path, "holds more audio than its header says", "convert it to WAV or FLAC first")


def missing_codecs() -> list[str]:
    """Which of those that archives are made of libsndfile was built without."""
    there = sf.available_formats()
    missing = [each for each in _NEEDED if each not in there]
    return [*missing, "Opus"] if "OGG" in there and "OPUS" not in sf.available_subtypes("OGG") else missing


def own_format(recording: Recording) -> OutputFormat | None:
    """The recording's own format where it can be written here so that its length is kept."""
    same = OutputFormat(recording.container, recording.subtype, recording.endian)
    return same if recording.subtype in KEPT.get(recording.container, ()) and can_write(same, recording) else None


def can_write(output: OutputFormat, recording: Recording) -> bool:
    """Whether a format takes a recording's sample rate and channels."""
    try:
        _create(BytesIO(), output, recording).close()
    except sf.LibsndfileError:
        return False
    return True


def _create(file: int | BytesIO, output: OutputFormat, recording: Recording) -> _Sequential:
    given = "w", recording.sample_rate, recording.channels, output.subtype, output.endian, output.container
    return _Sequential(file, *given, **_compression(output, recording))


def _compression(output: OutputFormat, recording: Recording) -> dict[str, Any]:
    """How libsndfile is told a bit rate: as a level from 0, the most that the codec has, to 1, the least."""
    bit_rate, rate, channels = output.bit_rate or recording.bit_rate, recording.sample_rate, recording.channels
    if bit_rate is None or output.subtype not in ("MPEG_LAYER_III", "OPUS"):
        return {}
    if output.subtype == "OPUS":
        low, high = _OPUS_BIT_RATES
        return {"compression_level": _level(bit_rate / channels, low, high)}
    # What MPEG-1, 2 and 2.5 layer III have, by the least sample rate of each.
    low, high = next(rates for least, rates in _MP3_BIT_RATES.items() if rate >= least)
    # A constant rate would leave no room, where it is low, for the tag that holds the length.
    return {"compression_level": _level(bit_rate, low, high), "bitrate_mode": "AVERAGE"}


def _level(bit_rate: float, low: int, high: int) -> float:
    return min(max((high - bit_rate) / (high - low), 0.0), _HIGHEST_LEVEL)


class Encoder:
    """Writes one result from start to end to an open file, which it closes."""

    def __init__(self, descriptor: int, output: OutputFormat, recording: Recording) -> None:
        self._descriptor, self._is_ogg = descriptor, output.container == "OGG"
        self._file = _create(descriptor, output, recording)
        for name, text in recording.tags:
            with suppress(sf.LibsndfileError):  # not every container has room for every tag
                setattr(self._file, name, text)

    def write(self, samples: Samples) -> None:
        """Append ``(channels, n)`` samples."""
        try:
            self._file.write(samples.T)
        except sf.LibsndfileError:
            # It does not tell why; the system does, to whoever writes on.
            os.write(self._descriptor, bytes(1 << 16))
            raise

    def close(self) -> None:
        """Bring the header up to date."""
        with os.fdopen(os.dup(self._descriptor), "r+b") as raw:
            self._file.close()
            if self._is_ogg:
                _number_by_content(raw)
