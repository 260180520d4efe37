"""What an output folder holds: its parts, and how far their recordings are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

from rich.table import Table
from rich.text import Text

from exdiff_cli.errors import UsageError
from exdiff_cli.lock import state_folder
from exdiff_cli.manifest import PAGE_ROWS, Manifest, Row, State, order_of
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
    found = _parts_in(state_folder(output))
    if not found:
        raise UsageError(f"{output}: no manifest in it; name an output folder of exdiff")
    return ["" if part == "." else part for part in found]


def holds_manifest(folder: Path) -> bool:
    """Whether it is an output folder, and does not only look like one."""
    return bool(_parts_in(state_folder(folder)))


def _parts_in(state: Path) -> list[str]:
    return sorted(path.parent.relative_to(state).as_posix() for path in state.glob("**/manifest.sqlite"))


def read_status(output: Path) -> Status:
    """Read every manifest of a folder; a run may be in progress meanwhile."""
    counts, failures, parts = dict.fromkeys((state.value for state in State), 0), list[Row](), parts_of(output)
    if len(parts) > 1 and "" in parts:  # with rows of one recording in two of them, which shards never have
        for row in all_rows(output):
            counts[row.state.value] += 1
            failures += [row] if row.state is State.FAILED else []
    else:
        for part in parts:
            with Manifest.open(output, part, read_only=True) as manifest:
                for state, count in manifest.counts().items():
                    counts[state.value] += count
                failures += manifest.rows(State.FAILED)
    return Status(output, counts, [(str(row.relative), str(row.error)) for row in failures])


@contextmanager
def all_manifests(output: Path) -> Iterator[list[Manifest]]:
    """Those of all parts, to read, at once."""
    parts = parts_of(output)
    needed, (soft, hard) = FILES_EACH * len(parts) + FILES_BESIDE + _open_files(), getrlimit(RLIMIT_NOFILE)
    if soft != RLIM_INFINITY and soft < needed:
        setrlimit(RLIMIT_NOFILE, (needed if hard == RLIM_INFINITY else min(needed, hard), hard))
    with ExitStack() as opened:
        yield [opened.enter_context(Manifest.open(output, part, read_only=True)) for part in parts]


def _open_files() -> int:
    """How many are open now, as those of another output folder are, where the system tells."""
    return len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0


def latest_rows(manifests: Sequence[Manifest], state: State | None = None) -> Iterator[Row]:
    """The row that was written last of every recording, or of those it puts in ``state``, by relative path.

    A recording that was done in a run over all and in a shard is in the manifests of both.
    """
    if len(manifests) == 1:
        yield from manifests[0].rows(state)
        return
    page = max(PAGE_ROWS // len(manifests), 10)
    rows = merge(*(manifest.rows(page=page) for manifest in manifests), key=_place)
    for _, same in groupby(rows, key=_place):
        latest = max(same, key=_written)
        if state is None or latest.state is state:
            yield latest


def latest_row(manifests: Sequence[Manifest], relative: Path) -> Row | None:
    """The same of one recording."""
    rows = (manifest.get(relative) for manifest in manifests)
    return max((row for row in rows if row is not None), key=_written, default=None)


def _place(row: Row) -> tuple[bool, bytes]:
    return order_of(row.relative)


def _written(row: Row) -> str:
    return row.updated_at


def all_rows(output: Path, state: State | None = None) -> Iterator[Row]:
    """Every recording once, whatever its part, in the order of :func:`order_of`; or those in ``state``."""
    with all_manifests(output) as manifests:
        yield from latest_rows(manifests, state)


def done_rows(output: Path) -> Iterator[Row]:
    """Every recording that counts as done."""
    return all_rows(output, State.DONE)


def export_lines(output: Path) -> Iterator[str]:
    """A line of JSON a recording, whatever its state and part; a run may be in progress meanwhile."""
    return (f"{row.as_json()}\n" for row in all_rows(output))


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
