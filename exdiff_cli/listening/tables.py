"""What listeners said, as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.table import Table
from rich.text import Text

from exdiff_cli.listening.key import Key, Kind
from exdiff_cli.listening.mushra import Mean, Ratings, score_ratings
from exdiff_cli.listening.preference import Preferences, Tally, score_preferences
from exdiff_cli.listening.results import NOTE, Result, comments
from exdiff_cli.text import printable


def score_tables(key: Key, results: Sequence[Result]) -> Iterator[Table]:
    """All that is told of a test; raises :class:`DataError` where no listener counts."""
    if key.kind is Kind.PREFERENCE:
        yield from _preference_tables(score_preferences(key, results))
    else:
        yield from _rating_tables(score_ratings(key, results))
    found = comments(key, results)
    if found:
        table = _table("comments", ["recording", "order", "comment"])
        for each in found:
            table.add_row(*(Text(printable(each[name])) for name in ("listener", "recording", "order", "comment")))
        yield table


def score_json(key: Key, results: Sequence[Result]) -> dict[str, object]:
    """The same as plain values."""
    known: dict[str, object] = {"message_type": "listening", "kind": key.kind.value, "test": key.test}
    if key.kind is Kind.PREFERENCE:
        known |= _preference_json(score_preferences(key, results))
    else:
        known |= _rating_json(score_ratings(key, results))
    return {**known, "comments": comments(key, results), "note": NOTE}


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for name in columns:
        table.add_column(Text(name), justify="right", overflow="fold")
    return table


def _preference_tables(found: Preferences) -> Iterator[Table]:
    first, second = found.systems
    columns = [first, second, "neither", f"share of {first}", "95 % interval", "p"]
    table = _table(f"preferred; listeners: {len(found.by_listener)}", columns)
    table.add_row("all", *_told(found.total))
    if len(found.by_listener) > 1:
        _add_tallies(table, found.by_listener)
    table.caption, table.caption_justify = Text(NOTE), "left"
    yield table
    table = _table("by recording", columns[:4])
    for name, tally in found.by_recording.items():
        table.add_row(Text(printable(name)), *_told(tally)[:4])
    yield table


def _add_tallies(table: Table, tallies: Mapping[str, Tally]) -> None:
    for name, tally in tallies.items():
        table.add_row(Text(printable(name)), *_told(tally))


def _told(tally: Tally) -> list[str]:
    counts = [str(tally.first), str(tally.second), str(tally.ties)]
    if tally.share is None or tally.interval is None:
        return [*counts, "-", "-", "-"]
    low, high = tally.interval
    return [*counts, f"{tally.share:.0%}", f"{low:.0%} to {high:.0%}", f"{tally.p_value:.3g}"]


def _preference_json(found: Preferences) -> dict[str, object]:
    return {
        "first": found.systems[0],
        "second": found.systems[1],
        "listeners": len(found.by_listener),
        "total": found.total.as_json(),
        "by_listener": [{"listener": name, **tally.as_json()} for name, tally in found.by_listener.items()],
        "by_recording": [{"recording": name, **tally.as_json()} for name, tally in found.by_recording.items()],
    }


def _rating_tables(found: Ratings) -> Iterator[Table]:
    table = _table(f"ratings, 0 to 100; listeners: {len(found.listeners)}", ["mean", "95 % interval", "ratings"])
    for system in found.systems:
        mean = found.mean(system)
        table.add_row(Text(system), f"{mean.value:.1f}", _interval(mean), str(mean.count))
    lines = [
        f"left out: {printable(name)}, who rated the hidden reference below 90 in {share:.0%} of trials"
        for name, share in found.left_out.items()
    ]
    table.caption, table.caption_justify = Text("\n".join([*lines, NOTE])), "left"
    yield table
    table = _table("by recording, mean", found.systems)
    for recording in found.recordings:
        means = (f"{found.mean(system, recording).value:.0f}" for system in found.systems)
        table.add_row(Text(printable(recording)), *means)
    yield table


def _interval(mean: Mean) -> str:
    return "-" if mean.low is None or mean.high is None else f"{mean.low:.1f} to {mean.high:.1f}"


def _rating_json(found: Ratings) -> dict[str, object]:
    return {
        "listeners": list(found.listeners),
        "left_out": [{"listener": name, "low_references": share} for name, share in found.left_out.items()],
        "systems": [{"system": system, **asdict(found.mean(system))} for system in found.systems],
        "by_recording": [
            {"recording": name, **{system: found.mean(system, name).value for system in found.systems}}
            for name in found.recordings
        ],
    }
