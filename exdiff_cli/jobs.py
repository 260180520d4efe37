"""Recordings to work on, however many: in order, each with a place of its own, and not in memory."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from exdiff_cli.errors import StateError, UsageError

PAGE_JOBS = 1000
CACHE_KIB = 32_768
"""What is kept in memory of the temporary file; up to about 200,000 recordings there is no file at all."""

_TABLE = "CREATE TABLE jobs (place BLOB, source BLOB, PRIMARY KEY (place, source)) WITHOUT ROWID"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Job:
    """One recording: where it lies, and its path below its root, which the output folder mirrors."""

    source: Path
    relative: Path


class Jobs:
    """Jobs in the order of their relative paths. May be read from several threads.

    Everything raises :class:`StateError` where the temporary folder's disk takes or gives no more.
    """

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        # No name: SQLite makes a file of its own where its cache is full, which is gone when this is.
        with _guarded():
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        for statement in ("PRAGMA journal_mode = OFF", f"PRAGMA cache_size = -{CACHE_KIB}", _TABLE):
            self._query(statement)
        self.add(jobs)

    def __len__(self) -> int:
        ((count,),) = self._query("SELECT COUNT(*) FROM jobs")
        return int(count)

    def __iter__(self) -> Iterator[Job]:
        for place, source in self._pairs():
            yield Job(Path(os.fsdecode(source)), _relative(place))

    def add(self, jobs: Iterable[Job]) -> None:
        """Take more, in any order; one that is there already is not taken twice."""
        rows = ((_place(job.relative), os.fsencode(job.source)) for job in jobs)
        for page in pages(rows, PAGE_JOBS):
            with _guarded():
                self._database.execute("BEGIN")
                self._database.executemany("INSERT OR IGNORE INTO jobs VALUES (?, ?)", page)
                self._database.execute("COMMIT")

    def holds(self, relative: Path) -> bool:
        """Whether there is a job for this place in the output."""
        return bool(self._query("SELECT 1 FROM jobs WHERE place = ?", _place(relative)))

    def refuse_collisions(self) -> None:
        """Drop what was named twice; :class:`UsageError` for two sources of one place in the output."""
        earlier = None
        for place, source in self._pairs():
            if earlier is not None and (place == earlier[0] or place.startswith(earlier[0] + b"\0")):
                if place != earlier[0] or os.path.realpath(source) != os.path.realpath(earlier[1]):
                    raise UsageError(
                        f"{os.fsdecode(earlier[1])} and {os.fsdecode(source)} would both be written to "
                        f"{_relative(earlier[0])}; enhance them into separate output folders (-o)"
                    )
                self._query("DELETE FROM jobs WHERE place = ? AND source = ?", place, source)
            else:
                earlier = place, source

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Place and source of each, a page at a time."""
        last = (b"", b"")
        statement = f"SELECT place, source FROM jobs WHERE (place, source) > (?, ?) ORDER BY 1, 2 LIMIT {PAGE_JOBS}"
        while page := self._query(statement, *last):
            yield from page
            last = page[-1]

    def _query(self, statement: str, *values: bytes) -> list[Any]:
        with _guarded():
            return self._database.execute(statement, values).fetchall()


@contextmanager
def _guarded() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(
            f"the temporary folder cannot keep the list of recordings ({error}); set TMPDIR to a folder with room"
        ) from error


def pages(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to ``size`` items, in order."""
    iterator = iter(items)
    while page := list(islice(iterator, size)):
        yield page


def _place(relative: Path) -> bytes:
    """Bytes that sort as the parts of a path do: what lies in a folder comes right after the folder."""
    return os.fsencode(relative).replace(b"/", b"\0")


def _relative(place: bytes) -> Path:
    return Path(os.fsdecode(place.replace(b"\0", b"/")))
