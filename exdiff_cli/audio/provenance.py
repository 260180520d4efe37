"""The tag by which an enhanced file says what it is: made by whom, of what original, and whether some of it is made up.

It is a line of ASCII for each time that a recording was enhanced, the latest last. Vorbis comments, MP4 and WebM hold
it as ``EXDIFF``, ID3 as a TXXX frame of that name, WAV, RF64 and AIFF as a chunk ``exdf``. It holds no time of day:
equal inputs give equal files.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import av
from mutagen import MutagenError
from mutagen.mp4 import MP4

from exdiff_cli.audio import chunks, mp3_tags
from exdiff_cli.audio.metadata import naming_the_disk, tag_class
from exdiff_cli.audio.recording import opened
from exdiff_cli.publish import writing

NAME = "EXDIFF"
SHORT_HASH = 12
"""Hexadecimal digits that tell models apart."""

_MP4_NAME = f"----:com.apple.iTunes:{NAME}"

_GENERATED = "partly generated: no evidence of what was said, the original is"
_FILTERED = "filtered, nothing generated: the original is the evidence"
_LINE = re.compile(
    r"exdiff (?P<tool_version>\S+); (?P<what>[^;]+); model (?P<bundle>[^;]+); weights (?P<weights>[0-9a-f]{12}); "
    r"original sha256 (?P<original_sha256>[0-9a-f]{64})"
)
_MOST_BYTES = 1 << 16
"""Of a tag that is read, its end: nobody enhances a recording a hundred times."""

TAGGED = frozenset({"FLAC", "OGG", "MP4", "MP3", "MATROSKA", *chunks.CONTAINERS})
"""Containers that have a place for it."""


@dataclass(frozen=True)
class Provenance:
    """What a file says of how it was made.

    ``weights`` are the first twelve digits of the models' SHA-256, ``original_sha256`` is that of the recording; it
    ``is_generated`` unless nothing but a filter was at work.
    """

    tool_version: str
    bundle: str
    weights: str
    original_sha256: str
    is_generated: bool = True

    def __str__(self) -> str:
        """A line of ASCII, of which :func:`parse` makes the same again."""
        what = _GENERATED if self.is_generated else _FILTERED
        bundle = quote(os.fsencode(self.bundle), safe=" ")
        return (
            f"exdiff {self.tool_version}; {what}; model {bundle}; weights {self.weights}; "
            f"original sha256 {self.original_sha256}"
        )


def parse(text: str) -> list[Provenance]:
    """What the lines of a tag say; those that are not ours are passed over."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return [_as_said(match) for match in found if match is not None]


def _as_said(match: re.Match[str]) -> Provenance:
    said = match.groupdict()
    is_generated = said.pop("what") != _FILTERED
    return Provenance(**said | {"bundle": os.fsdecode(unquote_to_bytes(said["bundle"]))}, is_generated=is_generated)


def tag_of(earlier: list[Provenance], latest: Provenance) -> str:
    """The text of the tag of a recording that says ``earlier`` of itself and is enhanced again."""
    return "\n".join(str(each) for each in [*earlier, latest])


def read_provenance(path: Path, container: str, subtype: str) -> list[Provenance]:
    """What a file of that format says of itself, oldest first; nothing where it has no such tag, or a broken one.

    Raises RecordingError where the file cannot be read.
    """
    with opened(path) as file:
        try:
            if container in chunks.CONTAINERS:
                text = chunks.read_own(file, _MOST_BYTES).decode("ascii", "replace")
            elif container == "MP3":
                text = mp3_tags.read_text(file, NAME, _MOST_BYTES)
            elif container == "MATROSKA":
                with av.open(file, "r", format="matroska", metadata_errors="replace") as matroska:
                    text = {key.upper(): value for key, value in matroska.metadata.items()}.get(NAME, "")
            else:
                text = _read_comment(path, container, subtype)
        except (MutagenError, av.FFmpegError):
            return []
    return parse(text[-_MOST_BYTES:])


def _read_comment(path: Path, container: str, subtype: str) -> str:
    kind = tag_class(container, subtype)
    tags = None if kind is None else kind(path).tags
    found = [] if tags is None else tags.get(_MP4_NAME if kind is MP4 else NAME) or []
    return "\n".join(bytes(each).decode("ascii", "replace") if kind is MP4 else str(each) for each in found)


def write_provenance(target: Path, container: str, subtype: str, text: str) -> str | None:
    """Put the tag into a finished file in place of one that is there; returns why it has none, if so.

    MATROSKA is not for this function: its encoder writes the tag, see :data:`NAME`. Raises RecordingError where the
    disk refuses.
    """
    if container not in TAGGED:
        return f"no tag in it says that it was enhanced: {container} has no place for one"
    try:
        with writing(target):
            if container in chunks.CONTAINERS:
                chunks.append_own(target, text.encode("ascii"))
            elif container == "MP3":
                mp3_tags.put_text(target, NAME, text)
            elif container != "MATROSKA":
                _write_comment(target, container, subtype, text)
    except (MutagenError, chunks.DoesNotFitError, mp3_tags.DoesNotFitError) as error:
        return f"no tag in it says that it was enhanced: {error}"
    return None


def _write_comment(target: Path, container: str, subtype: str, text: str) -> None:
    kind = tag_class(container, subtype)
    with naming_the_disk():
        file = kind(target)
        if file.tags is None:
            file.add_tags()
        if kind is MP4:
            file.tags[_MP4_NAME] = [text.encode("ascii")]
        else:
            file.tags[NAME] = [text]
        file.save()
