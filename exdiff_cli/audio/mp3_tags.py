"""Finds and copies the tags of MP3 files: ID3v2 before the sound; APEv2 and ID3v1 behind it.

They go over byte by byte, so that nothing of them is lost and nothing that is compressed in them is unpacked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

_HEAD = 10
_APE_FOOTER = 32
_ID3V1 = 128

OF_THE_SOUND = ("iTunSMPB", "iTunNORM", "replaygain_", "REPLAYGAIN_")
"""Begins of names of what is true of the samples that were, not of those that are: players would cut off what the old
encoder had added, or turn up what was quiet."""

_RENAMED = "was_"


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
