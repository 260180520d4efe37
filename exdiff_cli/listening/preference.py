"""Which of two systems listeners prefer, and whether that may be chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

from exdiff_cli.listening.key import Key, KeyTrial
from exdiff_cli.listening.results import Answer, Result, answered

CONFIDENCE = 0.95
TIE = "none"


@dataclass(frozen=True)
class Tally:
    """How often either system was preferred, and neither."""

    first: int
    second: int
    ties: int

    @property
    def decided(self) -> int:
        return self.first + self.second

    @property
    def share(self) -> float | None:
        """Of the first among those that are no ties; None where all are."""
        return self.first / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Clopper and Pearson's for the share, which covers it in at least 95 % of cases however few there are."""
        if not self.decided:
            return None
        found = self._test().proportion_ci(CONFIDENCE, method="exact")
        return float(found.low), float(found.high)

    @property
    def p_value(self) -> float | None:
        """Two-sided exact binomial test against no preference, without ties."""
        return float(self._test().pvalue) if self.decided else None

    def _test(self) -> Any:
        return binomtest(self.first, self.decided, 0.5)

    def as_json(self) -> dict[str, object]:
        return {
            "first": self.first,
            "second": self.second,
            "ties": self.ties,
            "share": self.share,
            "interval": self.interval,
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class Preferences:
    """Tallies of a test; ``systems`` are the first and the second."""

    systems: tuple[str, str]
    total: Tally
    by_recording: dict[str, Tally]
    by_listener: dict[str, Tally]


def score_preferences(key: Key, results: Sequence[Result]) -> Preferences:
    """Count what was preferred, all in all, by recording and by listener."""
    first, second = key.systems
    rows = [
        (result.listener, trial.recording, _preferred(trial, each)) for result, trial, each in answered(key, results)
    ]

    def tally(choices: Iterable[str]) -> Tally:
        counts = Counter(choices)
        return Tally(counts[first], counts[second], counts[TIE])

    listeners, recordings = [result.listener for result in results], sorted({trial.recording for trial in key.trials})
    return Preferences(
        systems=(first, second),
        total=tally(choice for _, _, choice in rows),
        by_recording={name: tally(choice for _, of, choice in rows if of == name) for name in recordings},
        by_listener={name: tally(choice for of, _, choice in rows if of == name) for name in listeners},
    )


def _preferred(trial: KeyTrial, answer: Answer) -> str:
    if answer.answer == "none":
        return TIE
    return trial.order[0 if answer.answer == "a" else 1]
