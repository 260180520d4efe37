"""A run's recordings added up, one after the other, however many: what `run.json` holds."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from exdiff_cli.manifest import State
from exdiff_cli.report.rows import MEASURES, ReportRow, settings_of
from exdiff_cli.report.sidecar import TakenFrom
from exdiff_cli.scores import Mean, mean_of

SHOWN_SETTINGS = 20
UNKNOWN = "unknown"
"""What a result is taken from by reports of older versions, which do not tell."""

SCORED = tuple(measure for measure in MEASURES if measure.name in ("ovrl", "sig", "bak", "snr_db"))
"""Measures of which more is better, so that a gain means something."""


class Paired:
    """A measure before and after, over the recordings that have both."""

    def __init__(self) -> None:
        self.before, self.after = array("d"), array("d")

    def add(self, before: float | None, after: float | None) -> None:
        if before is not None and after is not None:
            self.before.append(before)
            self.after.append(after)

    def means(self) -> tuple[float, float] | None:
        """Before and after."""
        count = len(self.before)
        return (sum(self.before) / count, sum(self.after) / count) if count else None

    @property
    def differences(self) -> list[float]:
        return [after - before for before, after in zip(self.before, self.after, strict=True)]

    def gain(self) -> Mean | None:
        return mean_of(self.differences)


class Totals:
    """Takes a row after the other and keeps a few numbers of each."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter({state.value: 0 for state in State})
        self.seconds: Counter[str] = Counter()
        self.scores = {measure: Paired() for measure in SCORED}
        self.audio_seconds = self.guard_seconds = 0.0
        self.fell = self.guarded = self.marks = self.converted = self.unreported = 0
        self.flagged = 0
        self.taken_from: Counter[str] = Counter(dict.fromkeys((*map(str, TakenFrom), UNKNOWN), 0))
        self.settings: dict[tuple[str, str], tuple[Mapping[str, object], int]] = {}

    def add(self, row: ReportRow) -> None:
        self.states[row.state.value] += 1
        report = row.report
        if report is None:
            self.unreported += row.state is State.DONE
            return
        self.audio_seconds += report.input.duration_s
        self.seconds.update(report.seconds)
        self.converted += report.is_converted
        self.guard_seconds += row.guard_seconds
        self.guarded += bool(report.guard)
        self.marks += len(report.guard)
        self.flagged += bool(report.flags)
        self.taken_from[report.taken_from or UNKNOWN] += 1
        self.fell += (row.gain or 0.0) < 0
        for measure, paired in self.scores.items():
            paired.add(measure.of(report.before), measure.of(report.after))
        key = (report.settings_key, report.weights_sha256)
        known = self.settings.get(key)
        if known is not None or len(self.settings) < SHOWN_SETTINGS:
            self.settings[key] = (known[0], known[1] + 1) if known else (settings_of(report), 1)

    @property
    def work_seconds(self) -> float:
        return float(sum(self.seconds.values()))

    def paired(self, name: str) -> Paired:
        """Of one measure."""
        return next(paired for measure, paired in self.scores.items() if measure.name == name)

    def as_json(self, price_per_hour: float | None = None) -> dict[str, object]:
        """Plain values; hours and seconds are of those recordings that are done and have a report."""
        work = self.work_seconds
        return {
            "recordings": {"total": self.states.total(), **self.states},
            "without_report": self.unreported,
            "converted": self.converted,
            "audio_hours": round(self.audio_seconds / 3600, 6),
            "work_hours": round(work / 3600, 6),
            "real_time_factor": round(work / self.audio_seconds, 6) if self.audio_seconds else None,
            "seconds": {stage: round(seconds, 4) for stage, seconds in sorted(self.seconds.items())},
            "scores": {measure.name: _score(paired) for measure, paired in self.scores.items() if paired.before},
            "ovrl_fell": self.fell,
            "guard": {
                "recordings": self.guarded,
                "marks": self.marks,
                "seconds": round(self.guard_seconds, 3),
            },
            "flagged": self.flagged,
            "taken_from": dict(self.taken_from),
            "price_per_hour": price_per_hour,
            "cost": None if price_per_hour is None else round(work / 3600 * price_per_hour, 2),
            "settings": [
                {"settings_key": key, "recordings": count, **values}
                for (key, _), (values, count) in sorted(self.settings.items(), key=lambda item: -item[1][1])
            ],
        }


def _score(paired: Paired) -> dict[str, object]:
    means, gain = paired.means(), paired.gain()
    assert means is not None
    assert gain is not None
    return {"before": means[0], "after": means[1], "estimated_gain": asdict(gain)}
