"""Two output folders side by side: what became of the same recordings under other settings or models."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from exdiff_cli.errors import UsageError
from exdiff_cli.report.rows import OPINIONS, ReportRow, read_rows, settings_of
from exdiff_cli.report.run_csv import MARK, plain
from exdiff_cli.scores import Mean, mean_of
from exdiff_cli.text import printable

SHOWN_PAIRS = 20
COMPARED = tuple(measure.name for measure in OPINIONS)
MOST_VALUES = 5
"""Of a setting that differs from recording to recording, so many values are told."""


@dataclass(frozen=True)
class Result:
    """What is compared of a result: its scores by measure, the guard's seconds, and what it was made of."""

    scores: Mapping[str, float | None]
    guard_seconds: float
    original_sha256: str


@dataclass(frozen=True)
class Pair:
    """The results of one recording; differences are the first less the second."""

    recording: str
    first: Result
    second: Result

    def difference(self, measure: str) -> float | None:
        first, second = self.first.scores[measure], self.second.scores[measure]
        return None if first is None or second is None else first - second

    def as_json(self) -> dict[str, object]:
        scores = {
            name: {"first": self.first.scores[name], "second": self.second.scores[name], "difference": difference}
            for name, difference in ((name, self.difference(name)) for name in COMPARED)
        }
        guard = {"first": self.first.guard_seconds, "second": self.second.guard_seconds}
        return {"message_type": "pair", "recording": self.recording, **scores, "guard_seconds": guard}


@dataclass
class Folder:
    """The results of one output folder by recording, and every value that its settings have."""

    output: Path
    results: dict[str, Result] = field(default_factory=dict)
    settings: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, row: ReportRow) -> None:
        report = row.report
        if report is None:
            return
        scores = {measure.name: measure.of(report.after) for measure in OPINIONS}
        result = Result(scores, row.guard_seconds, report.input.sha256)
        self.results[printable(str(row.recording))] = result
        for name, value in {**settings_of(report), "tool_version": report.tool_version}.items():
            self.settings[name].add(json.dumps(value))


@dataclass(frozen=True)
class Comparison:
    """All pairs by recording, and what has no partner: in one folder only, or made of another original."""

    first: Folder
    second: Folder
    pairs: Sequence[Pair]
    only_first: int
    only_second: int
    other_originals: int

    def mean(self, measure: str) -> Mean | None:
        """Of the differences."""
        return mean_of([pair.difference(measure) for pair in self.pairs])

    def settings(self) -> dict[str, tuple[list[str], list[str]]]:
        """Those that differ, with the values of either folder."""
        names = sorted({*self.first.settings, *self.second.settings})
        values = ((name, self.first.settings.get(name, set()), self.second.settings.get(name, set())) for name in names)
        return {name: (sorted(one), sorted(two)) for name, one, two in values if one != two}

    def as_json(self) -> dict[str, object]:
        means = {name: vars(mean) if (mean := self.mean(name)) else None for name in COMPARED}
        return {
            "message_type": "comparison",
            "first": str(self.first.output),
            "second": str(self.second.output),
            "pairs": len(self.pairs),
            "only_first": self.only_first,
            "only_second": self.only_second,
            "other_originals": self.other_originals,
            "mean_difference": means,
            "settings": {
                name: {"first": _values(one), "second": _values(two)} for name, (one, two) in self.settings().items()
            },
        }

    def remarks(self) -> Iterator[str]:
        """What the figures do not count, a line each."""
        for count, what in (
            (self.only_first, f"only in {self.first.output}"),
            (self.only_second, f"only in {self.second.output}"),
            (self.other_originals, "with another original in either folder"),
        ):
            if count:
                yield printable(f"{count} recordings {what}: not compared")


def _values(texts: Sequence[str]) -> list[object]:
    return [json.loads(text) for text in texts[:MOST_VALUES]]


def compare(first: Path, second: Path) -> Comparison:
    """Pair the recordings of two output folders by their paths below them.

    Raises :class:`UsageError` where one is none, or no recording is done in both.
    """
    folders = Folder(first), Folder(second)
    for folder in folders:
        for row in read_rows(folder.output):
            folder.add(row)
    one, two = folders
    both = [name for name in one.results if name in two.results]
    pairs = [Pair(name, one.results[name], two.results[name]) for name in both]
    same = [pair for pair in pairs if pair.first.original_sha256 == pair.second.original_sha256]
    if not same:
        raise UsageError(f"{first} and {second}: no recording is done in both; name two results of the same recordings")
    return Comparison(one, two, same, len(one.results) - len(both), len(two.results) - len(both), len(both) - len(same))


def comparison_tables(found: Comparison) -> Iterator[Table]:
    """For people: settings, mean differences, and the pairs that differ most in OVRL."""
    names = [printable(str(folder.output)) for folder in (found.first, found.second)]
    yield _settings_table(found, names)
    means = Table(title=f"mean difference over {len(found.pairs)} recordings, first less second", title_justify="left")
    for title in ("measure", "difference", "95 % interval", "recordings"):
        means.add_column(title, justify="left" if title == "measure" else "right")
    for name in COMPARED:
        mean = found.mean(name)
        if mean is not None:
            means.add_row(name.upper(), f"{mean.value:+.3f}", f"{mean.low:+.3f} to {mean.high:+.3f}", str(mean.count))
    yield means
    yield _pairs_table(found)


def _settings_table(found: Comparison, names: Sequence[str]) -> Table:
    table = Table(title="settings that differ", title_justify="left")
    for title in ("setting", "first", "second"):
        table.add_column(title, overflow="fold")
    table.add_row("folder", *map(Text, names))
    for name, both in found.settings().items():
        table.add_row(name, *(Text(printable(", ".join(values[:MOST_VALUES]) or "-")) for values in both))
    return table


def _pairs_table(found: Comparison) -> Table:
    scored = [(difference, pair) for pair in found.pairs if (difference := pair.difference("ovrl")) is not None]
    scored.sort(key=lambda item: (-abs(item[0]), item[1].recording))
    table = Table(title=f"OVRL, the {min(SHOWN_PAIRS, len(scored))} that differ most", title_justify="left")
    table.add_column("recording", overflow="fold")
    for title in ("first", "second", "difference"):
        table.add_column(title, justify="right")
    for difference, pair in scored[:SHOWN_PAIRS]:
        scores = [f"{result.scores['ovrl']:.2f}" for result in (pair.first, pair.second)]
        table.add_row(Text(pair.recording), *scores, f"{difference:+.2f}")
    return table


def comparison_csv(found: Comparison) -> Iterator[str]:
    """A row a pair, as safe in a spreadsheet as `report.csv`."""
    sides = ("first", "second", "difference")
    header = ["recording", *(f"{name}_{side}" for name in COMPARED for side in sides)]
    header += ["guard_seconds_first", "guard_seconds_second"]
    yield MARK + ",".join(header) + "\n"
    for pair in found.pairs:
        cells: list[str | float | None] = [pair.recording]
        for name in COMPARED:
            cells += [pair.first.scores[name], pair.second.scores[name], pair.difference(name)]
        cells += [pair.first.guard_seconds, pair.second.guard_seconds]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(map(plain, cells))
        yield text.getvalue()
