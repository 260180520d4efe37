"""Levels and loudness of one side of a run, measured as it passes by."""

from __future__ import annotations

from exdiff_cli.measures import Floats
from exdiff_cli.measures.loudness import LoudnessMeter
from exdiff_cli.measures.profile import Profile, ProfileMeter


class Meter:
    """Levels and loudness of what passes by."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._profile = ProfileMeter(sample_rate)
        self._loudness = LoudnessMeter(sample_rate, channels)

    def push(self, chunk: Floats) -> None:
        self._profile.push(chunk)
        self._loudness.push(chunk)

    def profile(self) -> Profile:
        return self._profile.result()

    def loudness(self) -> float | None:
        """Integrated loudness in LUFS; None for silence."""
        return self._loudness.integrated()
