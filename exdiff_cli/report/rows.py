"""What a run report tells of a recording: its row in the manifest and the quality report beside its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exdiff_cli.errors import RecordingError
from exdiff_cli.jobs import pages
from exdiff_cli.manifest import Row, State
from exdiff_cli.report.sidecar import GuardMark, Measures, QualityReport, read_sidecar, sidecar_path
from exdiff_cli.status import all_rows

PAGE_ROWS, TASK_ROWS = 500, 25
READERS = 8
"""Quality reports that are read at a time: on a network share each has to be waited for."""


@dataclass(frozen=True)
class Measure:
    """A measure by its field in the quality report; ``digits`` are those worth showing."""

    name: str
    title: str
    unit: str = ""
    digits: int = 1
    is_opinion: bool = False

    def of(self, measures: Measures) -> float | None:
        """None where it is not defined, or was not measured by the version that wrote the report."""
        holder = measures.dnsmos if self.is_opinion else measures
        return None if holder is None else getattr(holder, self.name)


OPINIONS = (
    Measure("ovrl", "DNSMOS OVRL", digits=2, is_opinion=True),
    Measure("sig", "DNSMOS SIG", digits=2, is_opinion=True),
    Measure("bak", "DNSMOS BAK", digits=2, is_opinion=True),
)
MEASURES = (
    *OPINIONS,
    Measure("loudness_lufs", "loudness", "LUFS"),
    Measure("noise_floor_dbfs", "noise floor", "dBFS"),
    Measure("peak_dbfs", "peak", "dBFS"),
    Measure("true_peak_dbfs", "true peak", "dBTP"),
    Measure("snr_db", "estimated SNR", "dB"),
    Measure("bandwidth_hz", "bandwidth", "Hz", 0),
    Measure("speech_share", "share of speech", digits=2),
    Measure("clipped_share", "share of clipped samples", digits=4),
)


@dataclass(frozen=True)
class ReportRow:
    """One recording; ``recording`` and ``output`` are paths below their roots.

    ``report`` is there where it is done; ``error`` says why it failed, or why a report that should be there is not.
    """

    recording: Path
    source: Path
    state: State
    error: str = ""
    output: Path | None = None
    report: QualityReport | None = None

    @property
    def gain(self) -> float | None:
        """What DNSMOS OVRL rose by; None where it is not known before and after."""
        return self.report.gain if self.report else None

    @property
    def guard_seconds(self) -> float:
        """How long the sampler was not trusted, in whatever channel."""
        return covered_seconds(self.report.guard) if self.report else 0.0

    @property
    def uncertainty(self) -> float | None:
        """How far samples of other seeds lie apart, in dB, where that was measured."""
        return self.report.uncertainty_db if self.report else None


def covered_seconds(marks: Iterable[GuardMark]) -> float:
    """Seconds that at least one mark covers."""
    covered = past = 0.0
    for mark in sorted(marks, key=lambda mark: mark.start_s):
        covered += max(0.0, mark.end_s - max(past, mark.start_s))
        past = max(past, mark.end_s)
    return covered


def read_rows(output: Path, read: Callable[[], object] = lambda: None) -> Iterator[ReportRow]:
    """Every recording of an output folder, by its path, whatever part it belongs to; ``read`` is called after each.

    Holds a page of reports at a time. A run may be in progress meanwhile. Raises :class:`UsageError` where there is no
    manifest.
    """
    with ThreadPoolExecutor(READERS, "reports") as threads:
        for page in pages(all_rows(output), PAGE_ROWS):
            for rows in threads.map(lambda few: [_with_report(output, row) for row in few], pages(page, TASK_ROWS)):
                for row in rows:
                    read()
                    yield row


def _with_report(output: Path, row: Row) -> ReportRow:
    if row.state is not State.DONE:
        return ReportRow(row.relative, row.source, row.state, row.error or "")
    result = row.output or row.relative
    try:
        report = read_sidecar(sidecar_path(output / result))
    except RecordingError as error:
        return ReportRow(row.relative, row.source, row.state, str(error), result)
    return ReportRow(row.relative, row.source, row.state, "", result, report)


def settings_of(report: QualityReport) -> Mapping[str, object]:
    """The settings flat, ``sampler.steps`` and so on, with the models' hash."""
    return {**_flat(report.settings), "weights_sha256": report.weights_sha256}


def _flat(values: Mapping[str, object], above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found
