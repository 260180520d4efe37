"""What of a recording DNSMOS rates: as much as takes no more than about a tenth of a run's time.

A window of nine seconds costs it as much as the models need for some fifteen seconds of talk.
"""

from __future__ import annotations

from exdiff_cli.measures.dnsmos import MOST_WINDOWS

LEAST_SECONDS = 2.0
"""Shorter recordings are not rated: they would be repeated five times and more to fill a window, and rating them would
take over seven times as long as enhancing them."""

SUSPECT_DECIBELS = 6.0
"""A short one whose speech became so much fainter is rated all the same."""

SECONDS_A_WINDOW = 150.0


def rated_count(seconds: float) -> int:
    """How many windows of a recording of ``seconds`` are rated, if it is rated at all."""
    return max(1, min(MOST_WINDOWS, int(seconds / SECONDS_A_WINDOW)))


def is_drawn(content_sha256: str, seconds: float) -> bool:
    """Whether a recording is one of those that stand for others of its length, by nothing but what it holds."""
    return int(content_sha256[:8], 16) / 16**8 < drawn_share(seconds)


def drawn_share(seconds: float) -> float:
    """The share of recordings of ``seconds`` that stand for all: so a window is rated for each 150 s of audio."""
    return min(1.0, seconds / SECONDS_A_WINDOW)


def rated_windows(windows: int, seconds: float) -> list[int]:
    """Which of so many windows of a recording of ``seconds`` are rated: at least one, spread over them all."""
    count = min(windows, rated_count(seconds))
    return [int((index + 0.5) / count * windows) for index in range(count)]
