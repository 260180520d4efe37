"""What an output folder holds: its parts, and how far their recordings are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

from rich.table import Table
from rich.text import Text

from exdiff_cli.errors import UsageError
from exdiff_cli.lock import state_folder
from exdiff_cli.manifest import Manifest, Row, State, order_of
from exdiff_cli.text import printable

SHOWN_FAILURES = 20
FILES_EACH, FILES_BESIDE = 3, 256
"""A manifest that is open takes a database, its log and its index; a shell allows 1024 files in all."""


@dataclass(frozen=True)
class Status:
    """Recordings by state, over all parts; and what failed, as (relative path, error)."""

    output: Path
    counts: dict[str, int]
    failures: list[tuple[str, str]]

    def as_json(self) -> dict[str, object]:
        failures = [{"recording": name, "error": error} for name, error in self.failures]
        return {"message_type": "status", "output": str(self.output), **self.counts, "failures": failures}


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


@contextmanager
def all_manifests(output: Path) -> Iterator[list[Manifest]]:
    """Those of all parts, to read, at once."""
    parts = parts_of(output)
    needed, (soft, hard) = FILES_EACH * len(parts) + FILES_BESIDE, getrlimit(RLIMIT_NOFILE)
    if soft != RLIM_INFINITY and soft < needed:
        setrlimit(RLIMIT_NOFILE, (needed if hard == RLIM_INFINITY else min(needed, hard), hard))
    with ExitStack() as opened:
        yield [opened.enter_context(Manifest.open(output, part, read_only=True)) for part in parts]


def done_rows(output: Path) -> Iterator[Row]:
    """Every recording that counts as done, whatever its part, in the order of :func:`order_of`."""
    with all_manifests(output) as manifests:
        rows = (manifest.rows(State.DONE) for manifest in manifests)
        yield from merge(*rows, key=lambda row: order_of(row.relative))


def export_lines(output: Path) -> Iterator[str]:
    """A line of JSON a recording, whatever its state and part; a run may be in progress meanwhile."""
    for part in parts_of(output):
        with Manifest.open(output, part, read_only=True) as manifest:
            for row in manifest.rows():
                yield f"{row.as_json()}\n"


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
