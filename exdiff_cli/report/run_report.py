"""Makes the run report of an output folder: `report.csv`, `run.json`, pictures, and the page that shows them.

All of it comes from the manifest and the quality reports, so that it can be made anew at any time. One pass over them
writes the table and adds up; what is held is a few numbers a recording, and the rows that the page lists.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from exdiff_cli.errors import RecordingError
from exdiff_cli.manifest import Manifest
from exdiff_cli.publish import atomic_set, write_text
from exdiff_cli.report.pictures import FOLDER, Wanted, draw_all, drawn_before, picture_name, remove_pictures, within
from exdiff_cli.report.rows import ReportRow, read_rows
from exdiff_cli.report.run_csv import BEGINNING, csv_lines
from exdiff_cli.report.run_page import GENERATOR, MARK, WORST, Kept, Place, run_page
from exdiff_cli.report.totals import Totals
from exdiff_cli.status import parts_of
from exdiff_cli.text import printable

SCHEMA_VERSION: Final = 1
PAGE, TABLE, RUN = "report.html", "report.csv", "run.json"
HEAD_BYTES = 4_096
SHARE_FOR_PICTURES = 0.08
"""Of the time that a run took, its report may spend so much on pictures."""


@dataclass(frozen=True)
class ReportOptions:
    """``pictures`` of so many of the worst, None of all; in ``picture_seconds`` at most, where that is given."""

    pictures: int | None = WORST
    picture_seconds: float | None = None
    price_per_hour: float | None = None


class _Taker(Protocol):
    """Takes note of every row as it goes by."""

    def add(self, row: ReportRow) -> None: ...


@dataclass
class _Drawing:
    """What pictures there are, and which a row lacks."""

    output: Path
    all_wanted: bool
    stale: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    missing: list[Wanted] = field(default_factory=list)

    def add(self, row: ReportRow) -> None:
        if row.report is None:
            return
        name = picture_name(row.report)
        if name in self.stale:
            self.stale.discard(name)
            self.found.add(name)
        elif self.all_wanted and name not in self.found:
            self.missing.append(self.wanted(row))

    def wanted(self, row: ReportRow) -> Wanted:
        assert row.report is not None
        result = self.output / (row.output or row.recording)
        target = self.output / FOLDER / picture_name(row.report)
        samples = sum(file.frames * file.channels for file in (row.report.input, row.report.output))
        return Wanted(row.source, result, target, samples)

    def draw(self, worst: Iterable[ReportRow], seconds: float | None, drawn: Callable[[], object]) -> None:
        if not self.all_wanted:
            self.missing = [
                self.wanted(row) for row in worst if row.report and picture_name(row.report) not in self.found
            ]
        if seconds is not None:
            self.missing = within(self.missing, seconds)
        self.found |= draw_all(self.missing, drawn)
        remove_pictures(self.output, self.stale)


def write_report(
    output: Path, options: ReportOptions | None = None, progress: Callable[[], object] = lambda: None
) -> dict[str, object]:
    """Make or make anew the report of ``output``; returns what `run.json` holds.

    ``progress`` is called after every recording and picture. Raises :class:`UsageError` where there is no manifest, and
    :class:`RecordingError` where a file cannot be written or lies under its name that exdiff did not make.
    """
    options, made_at = options or ReportOptions(), datetime.now(UTC)
    refuse_others_files(output)
    state = manifest_state(output)  # Before the rows: what is written meanwhile makes this report an old one.
    totals, kept = Totals(), Kept()
    drawing = _Drawing(output, options.pictures is None, drawn_before(output))
    targets = [output / name for name in (TABLE, PAGE, RUN)]  # By the last one a run knows that all of it is there.
    with atomic_set(targets) as (table, page, run_file):
        write_text(output / TABLE, table, csv_lines(_shown_to((totals, kept, drawing), read_rows(output, progress))))
        drawing.draw(_scored(kept)[: options.pictures], options.picture_seconds, progress)
        run = {
            "schema_version": SCHEMA_VERSION,
            "generator": GENERATOR,
            "made_at": made_at.isoformat(timespec="seconds"),
            "output": printable(os.path.abspath(output)),
            **totals.as_json(options.price_per_hour),
            "worst": [_worst(row) for row in _scored(kept)[:WORST]],
            "listed": len(kept.rows()),
            "pictures": len(drawing.found),
            "manifest": state,
        }
        write_text(output / RUN, run_file, json.dumps(run, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        place = Place(output, frozenset(drawing.found))
        write_text(output / PAGE, page, run_page(place, totals, kept, run, f"{made_at:%Y-%m-%d %H:%M} UTC"))
    return run


def _scored(kept: Kept) -> list[ReportRow]:
    return [row for row in kept.rows() if row.gain is not None]


def manifest_state(output: Path) -> dict[str, object]:
    """By what a report is known to be of what the manifests hold: how many rows, and when one was last written."""
    found = []
    for part in parts_of(output):
        with Manifest.open(output, part, read_only=True) as manifest:
            found.append(manifest.latest())
    return {"rows": sum(count for count, _ in found), "updated_at": max(latest for _, latest in found)}


def _shown_to(takers: Iterable[_Taker], rows: Iterable[ReportRow]) -> Iterator[ReportRow]:
    for row in rows:
        for taker in takers:
            taker.add(row)
        yield row


def _worst(row: ReportRow) -> dict[str, object]:
    assert row.report is not None
    assert row.report.before.dnsmos is not None
    assert row.report.after.dnsmos is not None
    scores = {"ovrl_before": row.report.before.dnsmos.ovrl, "ovrl_after": row.report.after.dnsmos.ovrl}
    return {"recording": printable(str(row.recording)), **scores, "gain": row.gain}


def refuse_others_files(output: Path) -> None:
    """:class:`RecordingError` where a file has a name of the report's and is not ours: it stays."""
    for name in (PAGE, TABLE, RUN):
        path = output / name
        if os.path.lexists(path) and not _is_ours(path):
            problem = "lies where the report is to be written, and exdiff did not make it"
            raise RecordingError(path, problem, "move it away, or use --no-report")


def _is_ours(path: Path) -> bool:
    """By what every version writes at its beginning."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    if path.name == PAGE:
        return MARK in head
    if path.name == TABLE:
        return head.startswith(BEGINNING)
    return head.startswith("{") and '"generator": "exdiff ' in head


def is_reported(output: Path) -> bool:
    """Whether there is a report, and of what the manifests hold now."""
    if not all(_is_ours(output / name) for name in (PAGE, TABLE, RUN)):
        return False
    try:
        run = json.loads((output / RUN).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return run.get("manifest") == manifest_state(output)
