"""`report.csv`: a row a recording, for spreadsheets. Columns are only ever added, at the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator

from exdiff_cli.report.rows import MEASURES, ReportRow
from exdiff_cli.report.sidecar import QualityReport
from exdiff_cli.text import printable

MARK = "\ufeff"
"""What tells a spreadsheet that this is UTF-8."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is run by spreadsheets; an apostrophe before it makes it text."""

Cell = str | int | float | None

ABOUT: dict[str, Callable[[ReportRow], Cell]] = {
    "recording": lambda row: str(row.recording),
    "state": lambda row: row.state.value,
    "error": lambda row: row.error,
    "original": lambda row: str(row.source),
    "result": lambda row: str(row.output) if row.output else None,
}
REPORTED: dict[str, Callable[[QualityReport], Cell]] = {
    "seconds": lambda report: report.input.duration_s,
    "sample_rate": lambda report: report.input.sample_rate,
    "channels": lambda report: report.input.channels,
    "format": lambda report: f"{report.input.container} {report.input.subtype}",
    "result_sample_rate": lambda report: report.output.sample_rate,
    "result_format": lambda report: f"{report.output.container} {report.output.subtype}",
    "work_seconds": lambda report: sum(report.seconds.values()),
    "guard_marks": lambda report: len(report.guard),
    "changes": lambda report: "; ".join(report.changes),
    "settings_key": lambda report: report.settings_key,
    "weights_sha256": lambda report: report.weights_sha256,
    "original_sha256": lambda report: report.input.sha256,
    "result_sha256": lambda report: report.output.sha256,
    "taken_from": lambda report: report.taken_from,
    "flags": lambda report: "; ".join(report.flags),
}
SIDES = ("before", "after")
COLUMNS = (
    *ABOUT,
    "ovrl_gain",
    "guard_seconds",
    *(f"{measure.name}_{side}" for measure in MEASURES for side in SIDES),
    "uncertainty_db",
    *REPORTED,
)
HEADER = MARK + ",".join(COLUMNS)
BEGINNING = MARK + ",".join((*ABOUT, "ovrl_gain", "guard_seconds")) + ","
"""Of the file of any version: by this it is known for ours."""


def csv_lines(rows: Iterable[ReportRow]) -> Iterator[str]:
    """The file line by line, its header first."""
    yield f"{HEADER}\n"
    for row in rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(map(plain, _cells(row)))
        yield text.getvalue()


def _cells(row: ReportRow) -> Iterator[Cell]:
    yield from (value(row) for value in ABOUT.values())
    report = row.report
    if report is None:
        yield from [None] * (len(COLUMNS) - len(ABOUT))
        return
    yield from (row.gain, row.guard_seconds)
    yield from (measure.of(getattr(report, side)) for measure in MEASURES for side in SIDES)
    yield row.uncertainty
    yield from (value(report) for value in REPORTED.values())


def plain(cell: Cell) -> str | int:
    """No more digits than are worth it; text that a spreadsheet does not run, on one line."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{round(cell, 6) + 0.0:.6f}".rstrip("0").rstrip(".")
    if isinstance(cell, int):
        return cell
    text = printable(cell)
    return f"'{text}" if text.startswith(FORMULA) else text
