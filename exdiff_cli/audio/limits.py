"""What no recording is: refused before it costs memory or hours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from exdiff_cli.errors import RecordingError

if TYPE_CHECKING:  # no command has to load NumPy to know its defaults
    from exdiff_cli.audio.recording import Recording

MOST_CHANNELS = 64
RATES = range(1_000, 768_001)
"""Hertz; beyond lie headers that lie, and filters that would not fit into memory."""

MOST_HOURS = 48.0
"""Of one recording, unless ``--max-hours`` says more; a small file may hold weeks of silence."""

UNLIMITED = math.inf


def refuse_absurd(path: Path, sample_rate: int, channels: int) -> None:
    """RecordingError for more channels, or another sample rate, than a recording has."""
    if not 0 < channels <= MOST_CHANNELS:
        raise RecordingError(path, f"has {channels} channels, at most {MOST_CHANNELS} can be", "split it up")
    if sample_rate not in RATES:
        raise RecordingError(path, f"claims to have {sample_rate} samples a second", "mend its header, or convert it")


def refuse_endless(recording: Recording, most_hours: float) -> None:
    """RecordingError for what lasts longer than it may."""
    if recording.seconds > 3600 * most_hours:
        problem = f"lasts more than the {most_hours:g} hours that a recording may last"
        raise RecordingError(recording.path, problem, "give --max-hours if that is right")
