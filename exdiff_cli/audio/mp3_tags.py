"""Finds and copies the tags of MP3 files: ID3v2 before the sound; APEv2 and ID3v1 behind it.

They go over byte by byte, so that nothing of them is lost and nothing that is compressed in them is unpacked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_HEAD = 10
_APE_FOOTER = 32
_ID3V1 = 128

OF_THE_SOUND = ("iTunSMPB", "iTunNORM", "replaygain_", "REPLAYGAIN_")
"""Begins of names of what is true of the samples that were, not of those that are: players would cut off what the old
encoder had added, or turn up what was quiet."""

_RENAMED = "was_"


_EXTENDED, _FOOTER = 0x40, 0x10
_MOST_TAG = 1 << 28
"""An ID3v2 tag counts its bytes in 28 bits."""


class DoesNotFitError(ValueError):
    """A tag has no room for another frame, and why."""


def head_bytes(raw: BinaryIO) -> int:
    """Length of the ID3v2 tag at the start; its size is a number of four digits of seven bits."""
    head = os.pread(raw.fileno(), _HEAD, 0)
    if head[:3] != b"ID3" or len(head) < _HEAD:
        return 0
    footer = _HEAD if head[5] & 0x10 else 0
    return _HEAD + footer + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(head[:5:-1]))


def tail_bytes(raw: BinaryIO) -> int:
    """Length of the tags at the end."""
    size = os.fstat(raw.fileno()).st_size
    end = size - _ID3V1 if os.pread(raw.fileno(), 3, max(size - _ID3V1, 0)) == b"TAG" else size
    footer = os.pread(raw.fileno(), _APE_FOOTER, max(end - _APE_FOOTER, 0))
    if footer[:8] == b"APETAGEX" and len(footer) == _APE_FOOTER:
        has_head = footer[23] & 0x80
        end -= int.from_bytes(footer[12:16], "little") + (_APE_FOOTER if has_head else 0)
    return size - max(end, 0)


def copy_tags(source: BinaryIO, target: Path) -> None:
    """Put the tags of ``source`` in place of those of ``target``."""
    size = os.fstat(source.fileno()).st_size
    head, tail = head_bytes(source), tail_bytes(source)
    with target.open("r+b") as file, tempfile.TemporaryFile(dir=target.parent) as sound:
        start, end = head_bytes(file), file.seek(0, 2) - tail_bytes(file)
        file.truncate(end)
        file.seek(start)
        shutil.copyfileobj(file, sound)
        file.truncate(0)
        file.seek(0)
        file.write(_renamed(os.pread(source.fileno(), head, 0)))
        sound.seek(0)
        shutil.copyfileobj(sound, file)
        file.write(_renamed(os.pread(source.fileno(), tail, size - tail)))


def _renamed(tags: bytes) -> bytes:
    """The same, of the same length, with other names for what is no longer true."""
    for name in OF_THE_SOUND:
        for encoding in ("latin-1", "utf-16-le", "utf-16-be"):
            begin = name.encode(encoding)
            other = (_RENAMED + name[len(_RENAMED) :]).encode(encoding)
            tags = tags.replace(begin, other)
    return tags


def read_text(file: BinaryIO, name: str, most: int) -> str:
    """The TXXX frame of that name in the tag at the start, its last ``most`` bytes; empty where there is none."""
    tag = os.pread(file.fileno(), head_bytes(file), 0)
    for start, past in _frames(tag):
        if _is_text(tag[start:past], name):
            return _value(tag[start:past], name)[-most:].decode("latin-1")
    return ""


def put_text(target: Path, name: str, text: str) -> None:
    """Put a TXXX frame of ASCII first in the tag at the start, in place of one of that name, or begin a tag.

    The other frames stay as they are, byte by byte. Raises :class:`DoesNotFitError` before the file is touched.
    """
    with target.open("r+b") as file, tempfile.TemporaryFile(dir=target.parent) as rest:
        length = head_bytes(file)
        tag = os.pread(file.fileno(), length, 0) or b"ID3\3\0\0" + bytes(4)
        replaced = _with_text(tag, name, text)
        file.seek(length)
        shutil.copyfileobj(file, rest)
        file.seek(0)
        file.write(replaced)
        rest.seek(0)
        shutil.copyfileobj(rest, file)
        file.truncate()


def _with_text(tag: bytes, name: str, text: str) -> bytes:
    version, flags = tag[3], tag[5]
    if version not in (2, 3, 4):
        raise DoesNotFitError(f"its ID3 tag is of version 2.{version}")
    if flags & _EXTENDED:
        raise DoesNotFitError("its ID3 tag has an extended header")
    content = b"\0" + name.encode("ascii") + b"\0" + text.encode("ascii")
    if version == 2:
        frame = b"TXX" + len(content).to_bytes(3, "big") + content
    else:
        size = _syncsafe(len(content)) if version == 4 else len(content).to_bytes(4, "big")
        frame = b"TXXX" + size + b"\0\0" + content
    kept, begin = b"", _HEAD
    for start, past in _frames(tag):
        if _is_text(tag[start:past], name):
            kept, begin = kept + tag[begin:start], past
    body = frame + kept + tag[begin:]
    count = len(body) - (_HEAD if flags & _FOOTER else 0)
    if count >= _MOST_TAG:
        raise DoesNotFitError("its ID3 tag is full")
    if flags & _FOOTER:
        body = body[:-4] + _syncsafe(count)
    return tag[:6] + _syncsafe(count) + body


def _frames(tag: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each frame; what is none, as padding is not, ends it."""
    if len(tag) <= _HEAD or tag[5] & _EXTENDED or tag[3] not in (2, 3, 4):
        return
    letters, head = (3, 6) if tag[3] == 2 else (4, 10)
    place = _HEAD
    while place + head <= len(tag) and tag[place : place + letters].isalnum():
        digits = tag[place + letters : place + 2 * letters]
        size = sum((byte & 0x7F) << 7 * power for power, byte in enumerate(digits[::-1]))
        if tag[3] != 4:
            size = int.from_bytes(digits, "big")
        if place + head + size > len(tag):
            return
        yield place, place + head + size
        place += head + size


def _is_text(frame: bytes, name: str) -> bool:
    return frame.startswith(b"TXX") and bool(_value(frame, name))


def _value(frame: bytes, name: str) -> bytes:
    """What a TXXX frame says under a name, in Latin-1 or UTF-8; of ASCII these are the same."""
    body = frame[10:] if frame.startswith(b"TXXX") else frame[6:]
    begin = name.encode("ascii") + b"\0"
    return body[1 + len(begin) :].rstrip(b"\0") if body[:1] in (b"\0", b"\3") and body[1:].startswith(begin) else b""


def _syncsafe(number: int) -> bytes:
    return bytes(number >> 7 * place & 0x7F for place in (3, 2, 1, 0))
