"""Ratings with hidden reference and anchor by ITU-R BS.1534-3: which listeners count, and means by system."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from exdiff_cli.errors import DataError
from exdiff_cli.listening.key import Key
from exdiff_cli.listening.results import Result, answered
from exdiff_cli.listening.sources import REFERENCE

CONFIDENCE = 0.95
LEAST_RATING, LARGEST_SHARE = 90, 0.15
"""Section 4.1.2: who rates the hidden reference below 90 in more than 15 % of trials does not count."""


@dataclass(frozen=True)
class Mean:
    """Mean of so many ratings with its interval of 95 % by Student's t; of a single one there is none."""

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Rating:
    """One rating, 0 to 100."""

    listener: str
    recording: str
    system: str
    value: int


@dataclass(frozen=True)
class Ratings:
    """Ratings of the listeners that count; ``left_out`` has the others, with their share of low references."""

    systems: tuple[str, ...]
    rows: Sequence[Rating]
    listeners: tuple[str, ...]
    left_out: dict[str, float]

    def mean(self, system: str, recording: str | None = None) -> Mean:
        return mean_of(row.value for row in self.rows if row.system == system and recording in (None, row.recording))

    @property
    def recordings(self) -> list[str]:
        return sorted({row.recording for row in self.rows})


def score_ratings(key: Key, results: Sequence[Result]) -> Ratings:
    """Post-screen the listeners and gather the rest; :class:`DataError` where none is left."""
    rows = [
        Rating(result.listener, trial.recording, system, value)
        for result, trial, answer in answered(key, results)
        for system, value in zip(trial.order, answer.ratings or (), strict=True)
        if value is not None
    ]
    low = {result.listener: _low_share(rows, result.listener) for result in results}
    left_out = {listener: share for listener, share in low.items() if share > LARGEST_SHARE}
    counted = tuple(listener for listener in low if listener not in left_out)
    if not counted:
        raise DataError(
            f"no listener counts: {', '.join(left_out)} rated the hidden reference below {LEAST_RATING} in more than "
            f"{LARGEST_SHARE:.0%} of trials; let others listen"
        )
    return Ratings(key.systems, [row for row in rows if row.listener in counted], counted, left_out)


def _low_share(rows: Sequence[Rating], listener: str) -> float:
    values = [row.value for row in rows if row.listener == listener and row.system == REFERENCE]
    return sum(value < LEAST_RATING for value in values) / len(values)


def mean_of(values: Iterable[float]) -> Mean:
    known = np.array(list(values), dtype=float)
    centre, count = float(known.mean()), known.size
    if count < 2:
        return Mean(centre, None, None, count)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * known.std(ddof=1) / math.sqrt(count))
    return Mean(centre, centre - half, centre + half, count)
