"""What an output folder holds: how far its recordings are, and whether its results are still as they were made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from rich.table import Table
from rich.text import Text

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.errors import UsageError
from exdiff_cli.lock import state_folder
from exdiff_cli.manifest import Manifest, Row, State
from exdiff_cli.text import printable

SHOWN_FAILURES = 20
ROWS_AHEAD = 1000
"""Rows that are held at a time, however many there are."""


@dataclass(frozen=True)
class Status:
    """Recordings by state, over all parts; and what failed, as (relative path, error)."""

    output: Path
    counts: dict[str, int]
    failures: list[tuple[str, str]]

    def as_json(self) -> dict[str, object]:
        failures = [{"recording": name, "error": error} for name, error in self.failures]
        return {"message_type": "status", "output": str(self.output), **self.counts, "failures": failures}


@dataclass(frozen=True)
class Finding:
    """One result that is not as it was made: ``problem`` is ``changed``, ``missing`` or ``unreadable``."""

    recording: str
    output: str
    problem: str

    def as_json(self) -> dict[str, object]:
        return {"message_type": "finding", **asdict(self)}


def parts_of(output: Path) -> list[str]:
    """The parts that have a manifest; :class:`UsageError` where there is none at all."""
    state = state_folder(output)
    found = sorted(path.parent.relative_to(state).as_posix() for path in state.glob("**/manifest.sqlite"))
    if not found:
        raise UsageError(f"{output}: no manifest in it; name an output folder of exdiff")
    return ["" if part == "." else part for part in found]


def read_status(output: Path) -> Status:
    """Read every manifest of a folder; a run may be in progress meanwhile."""
    counts, failures = dict.fromkeys((state.value for state in State), 0), []
    for part in parts_of(output):
        with Manifest.open(output, part, read_only=True) as manifest:
            for state, count in manifest.counts().items():
                counts[state.value] += count
            failures += [(str(row.relative), str(row.error)) for row in manifest.rows(State.FAILED)]
    return Status(output, counts, failures)


def done_rows(output: Path) -> Iterator[Row]:
    """Every recording that counts as done, whatever its part."""
    for part in parts_of(output):
        with Manifest.open(output, part, read_only=True) as manifest:
            yield from manifest.rows(State.DONE)


def export_lines(output: Path) -> Iterator[str]:
    """A line of JSON a recording, whatever its state and part; a run may be in progress meanwhile."""
    for part in parts_of(output):
        with Manifest.open(output, part, read_only=True) as manifest:
            for row in manifest.rows():
                yield f"{row.as_json()}\n"


def verify(output: Path, checked: Callable[[], object] = lambda: None) -> Iterator[Finding]:
    """Hash every result anew and name those that differ from what was published; ``checked`` is called after each."""
    rows = done_rows(output)
    with ThreadPoolExecutor() as threads:
        while ahead := list(islice(rows, ROWS_AHEAD)):
            for finding in threads.map(lambda row: _compare(output, row), ahead):
                checked()
                if finding is not None:
                    yield finding


def _compare(output: Path, row: Row) -> Finding | None:
    path = output / (row.output or row.relative)
    try:
        intact = path.stat().st_size == row.output_size and file_sha256(path) == row.output_sha256
    except OSError as error:
        problem = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    else:
        if intact:
            return None
        problem = "changed"
    return Finding(str(row.relative), str(path), problem)


def status_table(status: Status) -> Table:
    """Counts, and the first failures."""
    table = Table(title=Text(printable(str(status.output))), title_justify="left")
    table.add_column("state")
    table.add_column("recordings", justify="right")
    for state, count in status.counts.items():
        table.add_row(state, str(count))
    shown = [Text(printable(error)) for _, error in status.failures[:SHOWN_FAILURES]]
    more = len(status.failures) - len(shown)
    if more > 0:
        shown.append(Text(f"and {more} more"))
    if shown:
        table.caption = Text("\n").join(shown)
        table.caption_justify = "left"
    return table
