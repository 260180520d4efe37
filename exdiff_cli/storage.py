"""How results are to be stored, where it is not as their recordings are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exdiff_cli.errors import UsageError

FORMATS: dict[str, tuple[str, str | None]] = {
    "wav": ("WAV", None),
    "rf64": ("RF64", None),
    "w64": ("W64", None),
    "aiff": ("AIFF", None),
    "au": ("AU", None),
    "caf": ("CAF", None),
    "flac": ("FLAC", None),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "m4a": ("MP4", "AAC"),
    "webm": ("MATROSKA", "OPUS"),
}
"""Formats to choose from: the container of each, and its codec where there is only one to expect."""

BIT_RATES = range(6_000, 512_001)


@dataclass(frozen=True)
class Storage:
    """What was asked for; None keeps what the recording has.

    ``bit_rate`` is in bits a second, all channels together; with ``keep_time`` a result is as old as its recording.
    """

    format: str | None = None
    subtype: str | None = None
    bit_rate: int | None = None
    keep_time: bool = True

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise UsageError(f"--format {self.format}: there is {', '.join(FORMATS)}")
        if self.bit_rate is not None and self.bit_rate not in BIT_RATES:
            raise UsageError(f"--bitrate {self.bit_rate}: give 6k to 512k bits a second")


def parse_bit_rate(text: str) -> int:
    """``64k`` or ``64000`` in bits a second; :class:`UsageError` for anything else."""
    found = re.fullmatch(r"(\d+)(k?)", text.strip().lower())
    if found is None:
        raise UsageError(f"--bitrate {text}: give bits a second, as 64k")
    return int(found[1]) * (1_000 if found[2] else 1)
