"""What an evaluation found: every system's measures on every pair, and their means with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, norm

Found = Mapping[str, float | None]

CONFIDENCE = 0.95
RESAMPLES = 5000
MOST_RESAMPLED = 2000
"""Of more values the mean is normal, and its interval needs no resamples, which would take gigabytes."""


@dataclass(frozen=True)
class System:
    """One way to enhance: its name and number of sampler steps, 0 where it takes none."""

    name: str
    steps: int = 0

    @property
    def label(self) -> str:
        return f"{self.name}, {self.steps} steps" if self.steps > 1 else self.name + ", 1 step" * self.steps


@dataclass(frozen=True)
class Row:
    """One system's measures on one pair."""

    pair: str
    tags: Mapping[str, str]
    system: System
    measures: Found


@dataclass(frozen=True)
class Mean:
    """Mean over the pairs on which a measure is defined, with its bootstrap interval of 95 %."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Scores:
    """All rows of an evaluation; systems and measures in the order in which they were compared."""

    rows: Sequence[Row]
    systems: Sequence[System]
    measures: Sequence[str]

    @property
    def pairs(self) -> int:
        return len({row.pair for row in self.rows})

    def of(self, system: System) -> list[Row]:
        return [row for row in self.rows if row.system == system]

    def mean(self, system: System, measure: str) -> Mean | None:
        """None where the measure is defined on no pair."""
        return mean_of(self._values(system, measure))

    def average(self, system: System, measure: str) -> float | None:
        """The mean alone, without the cost of its interval."""
        known = [value for value in self._values(system, measure) if value is not None]
        return float(np.mean(known)) if known else None

    def _values(self, system: System, measure: str) -> list[float | None]:
        return [row.measures[measure] for row in self.of(system)]

    def gain(self, system: System, over: System, measure: str) -> Mean | None:
        """Mean difference of two systems, paired, so that what the pairs differ by among themselves cancels."""
        before = {row.pair: row.measures[measure] for row in self.of(over)}
        differences = []
        for row in self.of(system):
            after, first = row.measures[measure], before.get(row.pair)
            differences.append(None if after is None or first is None else after - first)
        return mean_of(differences)

    def tag_values(self, tag: str) -> list[str]:
        """Values of a tag, numbers by size."""
        values = {row.tags[tag] for row in self.rows if tag in row.tags}
        return sorted(values, key=_by_number)

    def only(self, tag: str, value: str) -> Scores:
        """The pairs that carry a tag's value."""
        return Scores([row for row in self.rows if row.tags.get(tag) == value], self.systems, self.measures)


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def mean_of(values: Sequence[float | None]) -> Mean | None:
    """Mean and interval of what is defined; a single value, or equal ones, are their own interval."""
    known = np.array([value for value in values if value is not None])
    if not known.size:
        return None
    centre = float(known.mean())
    if np.ptp(known) == 0:
        return Mean(centre, centre, centre, known.size)
    if known.size > MOST_RESAMPLED:
        spread = float(norm.ppf(0.5 + CONFIDENCE / 2) * known.std(ddof=1) / np.sqrt(known.size))
        return Mean(centre, centre - spread, centre + spread, known.size)
    found = bootstrap(
        (known,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return Mean(centre, float(found.confidence_interval.low), float(found.confidence_interval.high), known.size)
