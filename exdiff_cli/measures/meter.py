"""Levels, loudness and bandwidth of one side of a run, measured as it passes by."""

from __future__ import annotations

import math
from collections.abc import Iterable

from exdiff_cli.measures import FLOOR_DBFS, Floats
from exdiff_cli.measures.bandwidth import BandwidthMeter
from exdiff_cli.measures.cancelling import CancellingMeter
from exdiff_cli.measures.loudness import LoudnessMeter
from exdiff_cli.measures.profile import Profile, ProfileMeter
from exdiff_cli.measures.true_peak import TruePeakMeter


class Meter:
    """Levels, loudness and bandwidth of what passes by."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._profile = ProfileMeter(sample_rate)
        self._loudness = LoudnessMeter(sample_rate, channels)
        self._bandwidth = BandwidthMeter(sample_rate, channels)
        self._true_peak = TruePeakMeter(channels)
        self._cancelling = CancellingMeter(sample_rate, channels)

    def push(self, chunk: Floats) -> None:
        self._profile.push(chunk)
        self._loudness.push(chunk)
        self._bandwidth.push(chunk)
        self._true_peak.push(chunk)
        self._cancelling.push(chunk)

    def profile(self) -> Profile:
        return self._profile.result()

    def loudness(self) -> float | None:
        """Integrated loudness in LUFS; None for silence."""
        return self._loudness.integrated()

    def bandwidth(self) -> float | None:
        """How far up there is sound, in Hz; None for silence."""
        return self._bandwidth.result()

    def loudest(self, starts: Iterable[int], seconds: int) -> dict[int, int]:
        """As :meth:`CancellingMeter.loudest`."""
        return self._cancelling.loudest(starts, seconds)

    def true_peak(self) -> float:
        """The highest peak between samples too, in dB re full scale."""
        return max(FLOOR_DBFS, 20 * math.log10(max(self._true_peak.result(), 1e-12)))
