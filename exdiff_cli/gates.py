"""What a run's results have to come to: gates for pipelines, over all results of an output folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from exdiff_cli.errors import RecordingError
from exdiff_cli.report.sidecar import QualityReport, read_sidecar, sidecar_path
from exdiff_cli.status import done_rows


@dataclass(frozen=True)
class Gates:
    """The least mean gain of overall opinion, and the least mean overall opinion, by DNSMOS; None asks for nothing."""

    min_gain: float | None = None
    min_ovrl: float | None = None

    def __bool__(self) -> bool:
        return self.min_gain is not None or self.min_ovrl is not None


def reports_of(output: Path) -> Iterator[QualityReport]:
    """The reports of all that is done in a folder, now or before, as far as they can be read."""
    for row in done_rows(output):
        try:
            yield read_sidecar(sidecar_path(output / (row.output or row.relative)))
        except RecordingError:
            continue


def shortfalls(gates: Gates, reports: Iterable[QualityReport]) -> list[str]:
    """What is below its gate, a line each; results that have no rating, as silence has none, do not count."""
    ratings, gains = [], []
    for report in reports:
        if report.gain is not None and report.after.dnsmos is not None:
            ratings.append(report.after.dnsmos.ovrl)
            gains.append(report.gain)
    asked = (("--min-gain", "gain", gates.min_gain, gains), ("--min-ovrl", "overall opinion", gates.min_ovrl, ratings))
    found = []
    for option, name, least, values in asked:
        mean = sum(values) / len(values) if values else None
        if least is not None and mean is not None and mean < least:
            found.append(f"{option} {least:g}: the mean {name} of {len(values)} results is {mean:.3f}")
    return found
