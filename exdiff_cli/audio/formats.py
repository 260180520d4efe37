"""Which library reads and writes what, and how a result is stored: as its recording is, unless that cannot be kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from exdiff_cli.audio import ffmpeg, sndfile
from exdiff_cli.audio.recording import OutputFormat, Recording, Samples
from exdiff_cli.errors import RecordingError
from exdiff_cli.storage import FORMATS, Storage


class Encoder(Protocol):
    """Writes one result from start to end."""

    def write(self, samples: Samples) -> None: ...

    def close(self) -> None: ...


class Codecs(Protocol):
    """What each of the two modules offers; their functions say what they do."""

    def probe(self, path: Path, most_seconds: float) -> Recording: ...

    def decode(self, recording: Recording, window_frames: int) -> Iterator[Samples]: ...

    def own_format(self, recording: Recording) -> OutputFormat | None: ...

    def can_write(self, output: OutputFormat, recording: Recording) -> bool: ...

    def Encoder(self, descriptor: int, output: OutputFormat, recording: Recording) -> Encoder: ...  # noqa: N802


def codecs_of(container: str) -> Codecs:
    """The module that reads and writes a container."""
    return ffmpeg if container in ffmpeg.CONTAINERS.values() else sndfile


def kept_formats() -> dict[str, frozenset[str]]:
    """The codecs, by container, in which a result is stored if its recording was."""
    return {**sndfile.KEPT, **ffmpeg.KEPT}


def missing_codecs() -> list[str]:
    """What the two libraries should read or write, and were built without."""
    return sndfile.missing_codecs() + ffmpeg.missing_codecs()


def as_it_is(recording: Recording) -> OutputFormat:
    """The format for the result of ``recording``: its own where that keeps the length to the sample.

    Otherwise FLAC, or WAV for samples of floats, or where FLAC has no room for so many channels or so high a rate.
    """
    own = codecs_of(recording.container).own_format(recording)
    if own is not None:
        return own
    if recording.subtype in ("FLOAT", "DOUBLE"):
        return OutputFormat("WAV", recording.subtype, "FILE", ".wav")
    subtype = "PCM_24" if recording.bits > 16 else "PCM_16"
    flac = OutputFormat("FLAC", subtype, "FILE", ".flac")
    return flac if sndfile.can_write(flac, recording) else OutputFormat("WAV", subtype, "FILE", ".wav")


def output_format(recording: Recording, storage: Storage) -> OutputFormat:
    """The format for the result of ``recording`` as far as ``storage`` asks for one, else :func:`as_it_is`.

    Raises RecordingError where a recording's rate, channels or codec do not go with what is asked for.
    """
    own = as_it_is(recording)
    if (storage.format, storage.subtype) == (None, None):
        return replace(own, bit_rate=storage.bit_rate)
    container, codec = FORMATS[storage.format] if storage.format else (own.container, None)
    subtype = storage.subtype or codec or _subtype_in(container, recording)
    is_same = (container, subtype) == (recording.container, recording.subtype)
    suffix = "" if is_same else f".{storage.format or _suffix_of(container, subtype)}"
    output = OutputFormat(container, subtype, recording.endian if is_same else "FILE", suffix, storage.bit_rate)
    if subtype not in kept_formats()[container] or not codecs_of(container).can_write(output, recording):
        problem = f"cannot be stored as {container} {subtype}, with {recording.channels} channels at "
        raise RecordingError(
            recording.path, f"{problem}{recording.sample_rate} Hz", "choose another --format or --subtype"
        )
    return output


def _subtype_in(container: str, recording: Recording) -> str:
    """The recording's own codec where a container takes it, else samples as wide as its own."""
    kept = kept_formats()[container]
    if recording.subtype in kept:
        return recording.subtype
    return "PCM_24" if recording.bits > 16 else "PCM_16"


def _suffix_of(container: str, subtype: str) -> str:
    names = {held: name for name, held in reversed(FORMATS.items())}
    return names.get((container, subtype)) or names.get((container, None)) or container.lower()
