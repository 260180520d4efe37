"""Copies what a recording says of itself to a result of the same kind: tags, cover art, broadcast chunks.

Between files of different kinds only the common tags go over, as the libraries that write them know these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mutagen import MutagenError
from mutagen.flac import FLAC
from mutagen.mp4 import MP4
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis

from exdiff_cli.audio import chunks, mp3_tags
from exdiff_cli.audio.recording import OutputFormat, Recording, opened
from exdiff_cli.publish import writing

_TAGGED = {
    ("FLAC", ""): FLAC,
    ("OGG", "VORBIS"): OggVorbis,
    ("OGG", "OPUS"): OggOpus,
    ("MP4", ""): MP4,
}
_MP3 = "MP3"

_OF_THE_SOUND = (*(name.lower() for name in mp3_tags.OF_THE_SOUND), "r128_")
"""The same of other formats, and Opus's own, in names in lower case."""


def is_copied(recording: Recording, output: OutputFormat) -> bool:
    """Whether both are of a kind that :func:`copy_metadata` knows, so that nothing else has to write tags."""
    kind = _kind(recording.container, recording.subtype)
    return kind is not None and kind == _kind(output.container, output.subtype)


def _kind(container: str, subtype: str) -> Any:
    """The class that reads a format's tags, or the name of its form of chunks; None where it has neither."""
    if container == _MP3:
        return _MP3
    return tag_class(container, subtype) or chunks.CONTAINERS.get(container)


def tag_class(container: str, subtype: str) -> Any:
    """The class that reads and writes the comments of a format; None where it has none, or another form of them."""
    return _TAGGED.get((container, subtype)) or _TAGGED.get((container, ""))


def copy_metadata(recording: Recording, target: Path) -> str | None:
    """Copy to ``target``, of the same kind as ``recording``; returns why some of it is left out, if it is.

    Raises RecordingError where the disk refuses.
    """
    kind = _kind(recording.container, recording.subtype)
    try:
        with opened(recording.path) as source, writing(target):
            if kind == _MP3:
                mp3_tags.copy_tags(source, target)
            elif isinstance(kind, str):
                chunks.copy_chunks(source, target)
            else:
                _copy_tags(kind, recording.path, target)
    except (MutagenError, chunks.DoesNotFitError) as error:
        return f"tags and the like are not kept: {error}"
    return None


def _copy_tags(kind: Any, source: Path, target: Path) -> None:
    with naming_the_disk():
        first, second = kind(source), kind(target)
        if first.tags is not None:
            _replace_tags(kind, first, second)
            second.save()


@contextmanager
def naming_the_disk() -> Iterator[None]:
    """What the system refuses is an OSError, as it is everywhere else; MutagenError is about tags."""
    try:
        yield
    except MutagenError as error:
        if error.args and isinstance(error.args[0], OSError):  # which is about the disk, not the tags
            raise error.args[0] from error
        raise


def _is_of_the_sound(name: str) -> bool:
    return any(each in name.lower() for each in _OF_THE_SOUND)


def _replace_tags(kind: Any, first: Any, second: Any) -> None:
    if second.tags is None:
        second.add_tags()
    if kind is MP4:
        second.tags.clear()
        second.tags.update({name: value for name, value in first.tags.items() if not _is_of_the_sound(name)})
        return
    second.tags[:] = [(name, value) for name, value in first.tags if not _is_of_the_sound(name)]
    if kind is FLAC:
        second.cuesheet = first.cuesheet
        second.clear_pictures()
        for picture in first.pictures:
            second.add_picture(picture)
