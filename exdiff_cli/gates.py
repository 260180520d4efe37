"""What a run's results have to come to: gates for pipelines, over all results of an output folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exdiff_cli.errors import RecordingError, UsageError
from exdiff_cli.report.sidecar import QualityReport, read_sidecar, sidecar_path
from exdiff_cli.status import done_rows


@dataclass(frozen=True)
class Gates:
    """The least mean gain of overall opinion, and the least mean overall opinion, by DNSMOS; None asks for nothing.

    Raises :class:`UsageError` for what is no number.
    """

    min_gain: float | None = None
    min_ovrl: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("--min-gain", self.min_gain), ("--min-ovrl", self.min_ovrl)):
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{name} {value}: give a number, such as 0.1 or 2.8")

    def __bool__(self) -> bool:
        return self.min_gain is not None or self.min_ovrl is not None


def reports_of(output: Path) -> Iterator[QualityReport | None]:
    """The reports of all that is done in a folder, now or before; None for each that cannot be read."""
    for row in done_rows(output):
        try:
            yield read_sidecar(sidecar_path(output / (row.output or row.relative)))
        except RecordingError:
            yield None


def shortfalls(gates: Gates, reports: Iterable[QualityReport | None]) -> list[str]:
    """What is below its gate, a line each; results without a rating, as silence and what is very short, do not count.

    Where there is no rating at all, or a report is missing, nobody knows: that is short too.
    """
    ratings, gains, missing = [], [], 0
    for report in reports:
        if report is None:
            missing += 1
        elif report.gain is not None and report.after.dnsmos is not None:
            ratings.append(report.after.dnsmos.ovrl)
            gains.append(report.gain)
    found = [f"the reports of {missing} results cannot be read, so gates cannot tell"] if missing else []
    asked = (("--min-gain", "gain", gates.min_gain, gains), ("--min-ovrl", "overall opinion", gates.min_ovrl, ratings))
    for option, name, least, values in asked:
        if least is not None and not values:
            found.append(f"{option} {least:g}: no result has a rating")
        elif least is not None and (mean := sum(values) / len(values)) < least:
            found.append(f"{option} {least:g}: the mean {name} of {len(values)} results is {mean:.3f}")
    return found
