"""Copies what WAV, RF64 and AIFF files hold beside their sound: broadcast data, iXML, markers, lists and tags.

Both are IFF: a head that names the form and its size, then chunks of a name of four bytes, a size and that many bytes,
padded to an even number (Electronic Arts, *EA IFF 85*). RF64 (EBU Tech 3306) keeps sizes beyond 4 GiB in a chunk ds64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

CONTAINERS = {"WAV": "wave", "WAVEX": "wave", "RF64": "wave", "AIFF": "aiff"}
"""Those whose chunks are copied, and the form that they are of."""

PROVENANCE = b"exdf"
"""Our own: what a file says of how it was made."""

_SOUND = frozenset({b"fmt ", b"data", b"fact", b"ds64", b"COMM", b"SSND", b"FVER"})
_OF_THE_SOUND = frozenset({b"PEAK", b"levl"})
_PADDING = frozenset({b"JUNK", b"junk", b"PAD ", b"FLLR"})
_NOT_COPIED = _SOUND | _OF_THE_SOUND | _PADDING | {PROVENANCE}

_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
_HEAD_BYTES = 12
_MOST_CHUNKS = 10_000
"""Files that hold more hold rubbish behind their sound."""

_EXTENSIBLE, _MASK_END = 0xFFFE, 24
"""What a ``fmt `` says that names its loudspeakers, in four bytes that end there."""

_LONG = 0xFFFF_FFFF
_PIECE = 1 << 20


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies; ``size`` bytes from ``start`` on."""

    name: bytes
    start: int
    size: int


class DoesNotFitError(ValueError):
    """The chunks of a file cannot be those of another, and why."""


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The chunks of an IFF file; what lies beyond its end is left out."""
    end = file.seek(0, 2)
    order = _order(file)
    place, long_data = _HEAD_BYTES, None
    while order and place + 8 <= end:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack(order + "4sI", head)
        start = place + 8
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return  # Recorders that reserve room leave zeros behind their sound.
        if name == b"ds64" and 16 <= size <= end - start:
            long_data = int.from_bytes(file.read(16)[8:], "little")
        if name == b"data" and size == _LONG:
            size = end - start if long_data is None else long_data
        if start + size > end:
            return
        yield Chunk(name, start, size)
        place = start + size + size % 2


def _order(file: BinaryIO) -> str:
    """The byte order, in the notation of struct; empty for what is no IFF."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    return _ORDERS.get(head[:4], "") if len(head) == _HEAD_BYTES else ""


def copy_chunks(source: BinaryIO, target: Path) -> None:
    """Append to ``target`` the chunks of ``source`` that are not its sound; both are of one form.

    Their loudspeakers are the same, too. Raises :class:`DoesNotFitError` where the chunks cannot be copied, before the
    file is touched.
    """
    found = list(islice(chunks(source), _MOST_CHUNKS + 1))
    with target.open("r+b") as file:
        _copy_loudspeakers(source, file)
        copied = [chunk for chunk in found if chunk.name not in _NOT_COPIED]
        if not copied:
            return
        if len(found) > _MOST_CHUNKS:
            raise DoesNotFitError(f"it has more than {_MOST_CHUNKS} chunks")
        order = _order(file)
        if order != _order(source):
            raise DoesNotFitError("its numbers are stored in another byte order")
        total = sum(8 + chunk.size + chunk.size % 2 for chunk in copied)
        with _growing(file, total):
            for chunk in copied:
                file.write(struct.pack(order + "4sI", chunk.name, chunk.size))
                source.seek(chunk.start)
                _copy(source, file, chunk.size)
                file.write(bytes(chunk.size % 2))


def append_own(target: Path, content: bytes) -> None:
    """Append a chunk of our own, which :func:`copy_chunks` leaves out; :class:`DoesNotFitError` beyond 4 GiB."""
    total = 8 + len(content) + len(content) % 2
    with target.open("r+b") as file, _growing(file, total) as order:
        file.write(struct.pack(order + "4sI", PROVENANCE, len(content)))
        file.write(content + bytes(len(content) % 2))


def read_own(file: BinaryIO, most: int) -> bytes:
    """The last ``most`` bytes of the last chunk of our own; nothing where there is none."""
    found = b""
    for chunk in islice(chunks(file), _MOST_CHUNKS):
        if chunk.name == PROVENANCE:
            kept = min(chunk.size, most)
            file.seek(chunk.start + chunk.size - kept)
            found = file.read(kept)
    return found


@contextmanager
def _growing(file: BinaryIO, count: int) -> Iterator[str]:
    """At the end of an IFF file, where ``count`` bytes of chunks are written; gives its byte order.

    The head says how long it is afterwards. :class:`DoesNotFitError`, now or raised meanwhile, leaves the file alone.
    """
    order, is_long, end = _order(file), _is_long(file), file.seek(0, 2)
    size = end + end % 2 + count
    if size - 8 > _LONG and not is_long:
        raise DoesNotFitError("its tags and chunks would take it beyond 4 GiB")
    file.seek(end)
    file.write(bytes(end % 2))
    try:
        yield order
    except DoesNotFitError:
        file.truncate(end)
        raise
    file.seek(20 if is_long else 4)
    file.write(struct.pack("<Q" if is_long else order + "I", size - 8))


def _copy_loudspeakers(source: BinaryIO, target: BinaryIO) -> None:
    """Which channel is for which loudspeaker; libsndfile puts what is usual for so many channels."""
    named, place = _loudspeakers(source), _loudspeakers(target)
    if named is not None and place is not None:
        source.seek(named)
        target.seek(place)
        target.write(source.read(4))


def _loudspeakers(file: BinaryIO) -> int | None:
    """Where a file names them, if it does."""
    for chunk in islice(chunks(file), _MOST_CHUNKS):
        if chunk.name == b"fmt ":
            file.seek(chunk.start)
            content = file.read(_MASK_END)
            is_named = len(content) == _MASK_END and content[:2] == _EXTENSIBLE.to_bytes(2, "little")
            return chunk.start + _MASK_END - 4 if is_named else None
    return None


def _is_long(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(4) == b"RF64"


def _copy(source: BinaryIO, target: BinaryIO, count: int) -> None:
    while count:
        piece = source.read(min(count, _PIECE))
        if not piece:
            raise DoesNotFitError("the recording has become shorter meanwhile")
        target.write(piece)
        count -= len(piece)
