"""`report.html`: the totals, the worst, and a table of recordings whose figures lie in the page itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from pathlib import Path
from urllib.parse import quote

from exdiff_cli import __version__
from exdiff_cli.manifest import State
from exdiff_cli.report.page import render
from exdiff_cli.report.pictures import FOLDER, picture_name
from exdiff_cli.report.rows import MEASURES, ReportRow
from exdiff_cli.report.run_plots import gain_plot, scatter_plot
from exdiff_cli.report.sidecar import AudioFile, Measures, QualityReport
from exdiff_cli.report.spectrogram import top_of
from exdiff_cli.report.totals import Totals
from exdiff_cli.text import printable

MOST_ROWS = 5_000
MOST_FAILURES = 1_000
MOST_FLAGGED = 1_000
MOST_MARKS = 200
WORST = 10
GENERATOR = f"exdiff {__version__}"
MARK = '<meta name="generator" content="exdiff '
"""By which a page is known for ours."""


Ranked = tuple[float, int, ReportRow]


@dataclass
class Kept:
    """The rows that a page lists of all that it is given: those that gained least, flagged ones, and failures."""

    most: int = MOST_ROWS
    failures: list[ReportRow] = field(default_factory=list)
    given: int = 0
    _worst: list[Ranked] = field(default_factory=list)
    _flagged: list[Ranked] = field(default_factory=list)

    def add(self, row: ReportRow) -> None:
        """Recordings that wait for their turn are not listed."""
        if row.state is State.FAILED:
            self.given += 1
            if len(self.failures) < min(MOST_FAILURES, self.most):
                self.failures.append(row)
        elif row.state is State.DONE:
            self.given += 1
            ranked = (-_rank(row), self.given, row)
            if row.report and row.report.flags and len(self._flagged) < min(MOST_FLAGGED, self.most):
                self._flagged.append(ranked)
            elif len(self._worst) < self.most:
                heappush(self._worst, ranked)
            else:
                heappushpop(self._worst, ranked)

    def rows(self) -> list[ReportRow]:
        """The worst first, failures at the end."""
        room = max(0, self.most - len(self.failures))
        flagged = _sorted(self._flagged)[:room]
        kept = _sorted(flagged + _sorted(self._worst)[: room - len(flagged)])
        return [row for _, _, row in kept] + self.failures


def _sorted(ranked: list[Ranked]) -> list[Ranked]:
    """The worst first, of equal ones that which came first."""
    return sorted(ranked, key=lambda each: (-each[0], each[1]))


def _rank(row: ReportRow) -> float:
    """A result without a report is the worst there is; silence, which has no score, is none."""
    if row.report is None:
        return float("-inf")
    return float("inf") if row.gain is None else row.gain


@dataclass(frozen=True)
class Place:
    """Where a page lies, which its links begin at, and what pictures lie beside it."""

    output: Path
    pictures: frozenset[str]

    def link(self, target: Path) -> str:
        """Relative, with every byte spelt out that a URL cannot hold."""
        return quote(os.fsencode(os.path.relpath(target, self.output)))


def run_page(place: Place, totals: Totals, kept: Kept, run: Mapping[str, object], made_at: str) -> str:
    """The page; ``run`` is what `run.json` holds."""
    rows = kept.rows()
    ovrl = totals.paired("ovrl")
    return render(
        "run.html",
        generator=GENERATOR,
        title=printable(Path(os.path.abspath(place.output)).name),
        made_at=made_at,
        run=run,
        signed=lambda value: f"{value:+.2f}".replace("-", "\N{MINUS SIGN}"),
        listed=len(rows),
        given=kept.given,
        worst=WORST,
        scatter=scatter_plot(ovrl.before, ovrl.after),
        gains=gain_plot(ovrl.differences),
        data=page_data(place, rows),
    )


def page_data(place: Place, rows: Sequence[ReportRow]) -> dict[str, object]:
    """What the script works on. Texts that many recordings share stand once, settings too."""
    texts, settings = _Table(), _Table()
    return {
        "measures": [
            {"name": measure.name, "title": measure.title, "unit": measure.unit, "digits": measure.digits}
            for measure in MEASURES
        ],
        "rows": [_entry(place, row, texts, settings) for row in rows],
        "texts": texts.values,
        "settings": settings.values,
        "folder": FOLDER,
    }


class _Table:
    """Gives equal values one number."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._places: dict[str, int] = {}

    def place(self, value: object) -> int:
        key = repr(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]

    def places(self, values: Iterable[object]) -> list[int]:
        return [self.place(value) for value in values]


def _entry(place: Place, row: ReportRow, texts: _Table, settings: _Table) -> dict[str, object]:
    entry: dict[str, object] = {"name": printable(str(row.recording)), "original": place.link(row.source)}
    if row.error:
        entry["error"] = printable(row.error)
    if row.state is State.FAILED:
        return entry | {"failed": 1}
    entry["result"] = place.link(place.output / (row.output or row.recording))
    return entry | (_measured(place, row, row.report, texts, settings) if row.report else {})


def _measured(
    place: Place, row: ReportRow, report: QualityReport, texts: _Table, settings: _Table
) -> dict[str, object]:
    picture = picture_name(report)
    return {
        "seconds": round(report.input.duration_s, 3),
        "before": _values(report.before),
        "after": _values(report.after),
        "gain": _rounded(row.gain),
        "uncertainty": _rounded(row.uncertainty),
        "guard": round(row.guard_seconds, 2),
        "marks": [
            [mark.start_s, mark.end_s, texts.place(printable(mark.reason)), round(mark.decibels, 1), *mark.channels]
            for mark in report.guard[:MOST_MARKS]
        ],
        "marked": len(report.guard),
        "flags": texts.places(map(printable, report.flags)),
        "taken": report.taken_from,
        "changes": texts.places(map(printable, report.changes)),
        "notes": texts.places(map(printable, report.notes)),
        "formats": texts.places([_format(report.input), _format(report.output)]),
        "stages": {stage: round(seconds, 2) for stage, seconds in report.seconds.items()},
        "settings": settings.place(report.settings),
        "hashes": [report.input.sha256, report.output.sha256],
        "top": top_of(max(report.input.sample_rate, report.output.sample_rate)) / 1000,
        "picture": picture if picture in place.pictures else "",
    }


def _values(measures: Measures) -> list[float | None]:
    return [_rounded(measure.of(measures)) for measure in MEASURES]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _format(file: AudioFile) -> str:
    channels = "mono" if file.channels == 1 else f"{file.channels} channels"
    return f"{file.container} {file.subtype}, {file.sample_rate} Hz, {channels}"
