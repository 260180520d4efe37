"""The state of an output folder: one SQLite row a recording, durable before the next recording begins.

Every write is one transaction (WAL, synchronous=FULL), so that a kill or a power cut at any moment leaves
each row either as it was or as it was to become.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any
from urllib.parse import quote

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.errors import RecordingError, StateError, UsageError
from exdiff_cli.jobs import Job, pages
from exdiff_cli.lock import state_folder
from exdiff_cli.publish import publish_text

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 30.0
MANIFEST = "manifest.sqlite"

PAGE_ROWS = 500

_TABLE = """
CREATE TABLE recordings (
    relative TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    size INTEGER,
    mtime_ns INTEGER,
    sha256 TEXT,
    settings_key TEXT,
    weights_sha256 TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed', 'skipped')),
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    output TEXT,
    output_size INTEGER,
    output_sha256 TEXT,
    timings TEXT NOT NULL DEFAULT '{}',
    updated_at TEXT NOT NULL
) WITHOUT ROWID
"""
_INDEX = "CREATE INDEX recordings_by_state ON recordings (state)"

_RUNS = """
CREATE TABLE runs (
    settings_key TEXT NOT NULL,
    weights_sha256 TEXT NOT NULL,
    settings TEXT NOT NULL,
    bundle TEXT NOT NULL,
    examples TEXT,
    PRIMARY KEY (settings_key, weights_sha256)
) WITHOUT ROWID
"""
_STEPS: tuple[tuple[str, ...], ...] = (
    (_TABLE, _INDEX),
    ("ALTER TABLE recordings ADD COLUMN output_mtime_ns INTEGER", _RUNS),
    ("CREATE INDEX recordings_by_output ON recordings (output)",),
    ("ALTER TABLE recordings ADD COLUMN report_sha256 TEXT",),
)
"""Statements that bring a manifest to the next version, the first from an empty file to 1; only ever added to."""

SCHEMA_VERSION = len(_STEPS)


class State(StrEnum):
    """How far a recording has come."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Fingerprint:
    """The content of an input: size in bytes, modification time in nanoseconds, SHA-256 in hex."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Row:
    """One recording in the manifest.

    ``relative`` is its path below its root, ``output`` that of its result below the output folder, ``source``
    is absolute. Sizes are bytes, ``timings`` seconds by stage, ``updated_at`` is ISO 8601 in UTC.
    ``report_sha256`` is that of the report beside the result, None where an older exdiff did not keep it.
    """

    relative: Path
    source: Path
    size: int | None
    mtime_ns: int | None
    sha256: str | None
    settings_key: str | None
    weights_sha256: str | None
    state: State
    attempts: int
    error: str | None
    output: Path | None
    output_size: int | None
    output_sha256: str | None
    timings: Mapping[str, float] = field(default_factory=dict)
    updated_at: str = ""
    output_mtime_ns: int | None = None
    report_sha256: str | None = None

    @property
    def result(self) -> Path:
        """Where its result is, or is to be, below the output folder."""
        return self.output or self.relative

    def as_json(self) -> str:
        """One line of ASCII; bytes of a file name that are not UTF-8 appear as lone surrogates (PEP 383)."""
        return json.dumps({"message_type": "row", **vars(self)}, default=Path.as_posix)


@dataclass(frozen=True)
class MadeWith:
    """What results of a settings key and weights hash are made with, so that more of them can be.

    ``settings`` are those of :class:`exdiff_cli.settings.Settings`; ``bundle`` is a name or a folder, and
    ``examples`` the folder that its separator was shown, if any.
    """

    settings_key: str
    weights_sha256: str
    settings: Mapping[str, Any]
    bundle: str
    examples: str | None = None


_LEFT = "CASE WHEN error IS NULL THEN 'pending' ELSE 'failed' END"
"""What a recording becomes that was begun and not finished: what failed before still did."""

_COLUMNS = ", ".join(column.name for column in fields(Row))


def fingerprint(source: Path) -> Fingerprint:
    """Read ``source`` once, in constant memory.

    Raises OSError where it cannot be read, RecordingError where it changed meanwhile.
    """
    before = source.stat()
    sha256 = file_sha256(source)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise RecordingError(source, "changed while it was read", "run again once it is complete")
    return Fingerprint(after.st_size, after.st_mtime_ns, sha256)


class NewerManifestError(UsageError):
    """A newer exdiff wrote the manifest."""


class Manifest:
    """The rows of one output folder. A context manager; safe to share between the threads of one process."""

    def __init__(self, path: Path, database: sqlite3.Connection, *, read_only: bool, set_aside: Path | None) -> None:
        self.path = path
        self.read_only = read_only
        self.set_aside = set_aside
        """Where a damaged manifest was moved to when this one was begun in its place."""
        self._database = database
        # Statements are kept and used again: two threads must not bind values to the same one.
        self._turn = RLock()

    @classmethod
    def open(cls, folder: Path, part: str = "", *, read_only: bool = False) -> Manifest:
        """Open the manifest of the output folder ``folder``, or of a ``part`` of it, or begin one.

        The caller holds the folder's lock unless ``read_only``: what a killed run left running becomes what it was, an
        older version is brought up to date, and a damaged manifest is set aside with a warning.
        ``read_only`` changes nothing, so that it may look on beside a run in progress.

        Raises UsageError where a newer exdiff wrote it, the folder cannot be written, or, if ``read_only``,
        there is no sound manifest of this version; StateError where the disk refuses to let it be read.
        """
        path = state_folder(folder, part) / MANIFEST
        if read_only:
            return cls(path, _open_to_read(path), read_only=True, set_aside=None)
        set_aside = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                database = _open_to_write(path)
            except _DamagedError as damage:
                set_aside = _set_aside(path, damage)
                database = _open_to_write(path)
        except (OSError, sqlite3.Error, _DamagedError) as error:
            raise UsageError(f"{path}: cannot be opened ({error}); check the output folder and its disk") from None
        return cls(path, database, read_only=False, set_aside=set_aside)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; what was written stays written."""
        self._database.close()

    def is_done(
        self,
        relative: Path,
        source: Path,
        settings_key: str,
        weights_sha256: str,
        output_root: Path,
        *,
        verify_hashes: bool = True,
    ) -> bool:
        """Whether the result of ``source`` under these settings and weights is finished and still intact.

        An input of the same path, size and modification time counts as unchanged, and so does an output of the
        same size and modification time; any other of the same size is hashed. With ``verify_hashes`` off, the
        output's size decides. What cannot be read is not done.
        """
        row = self.get(relative)
        if row is None or row.state is not State.DONE:
            return False
        if (row.settings_key, row.weights_sha256) != (settings_key, weights_sha256):
            return False
        try:
            return self._output_intact(row, output_root, verify_hashes) and self._input_unchanged(row, source)
        except (OSError, RecordingError):
            return False

    def split_done(
        self,
        jobs: Sequence[Job],
        settings_key: str,
        weights_sha256: str,
        output_root: Path,
        until: Callable[[], bool] = lambda: False,
    ) -> tuple[list[Job], list[Job]]:
        """Tell the jobs that :meth:`is_done` from the others, by one query where sizes and times are unchanged.

        Hashing may take hours where these have changed: ``until`` is asked before each; the rest is in neither list.
        """
        columns = "relative, source, size, mtime_ns, output, output_size, output_mtime_ns"
        condition = "state = 'done' AND settings_key = ? AND weights_sha256 = ?"
        rows = self._among(jobs, columns, condition, settings_key, weights_sha256)
        done: list[Job] = []
        others: list[Job] = []
        for job in jobs:
            if until():
                break
            row = rows.get(_stored(job.relative))
            is_done = row is not None and (
                _as_recorded(row, job.source, output_root)
                or self.is_done(job.relative, job.source, settings_key, weights_sha256, output_root)
            )
            (done if is_done else others).append(job)
        return done, others

    def failed_among(self, jobs: Sequence[Job]) -> list[Job]:
        """Those whose last attempt failed."""
        failed = self._among(jobs, "relative", "state = 'failed'")
        return [job for job in jobs if _stored(job.relative) in failed]

    def of_others(self, jobs: Sequence[Job]) -> set[Path]:
        """The places of those jobs at which the result of another recording lies that is still there."""
        rows = self._among(jobs, "relative, source", "state = 'done'")
        found = ((job, rows.get(_stored(job.relative))) for job in jobs)
        return {job.relative for job, row in found if row is not None and is_another(os.fsdecode(row[1]), job.source)}

    def owner_of(self, output: Path) -> Path | None:
        """The place of the recording whose result has this name below the output folder."""
        rows = self._select("WHERE output = ? LIMIT 1", _stored(output))
        return rows[0].relative if rows else None

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Begun and not finished: pending again, or failed where they were that before."""
        statement = f"UPDATE recordings SET state = {_LEFT} WHERE relative = ? AND state = 'running'"
        with self._guarded(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(statement, [(_stored(job.relative),) for job in jobs])

    def plan(self, jobs: Iterable[Job], settings_key: str | None = None, weights_sha256: str | None = None) -> None:
        """Register ``jobs`` as pending, all or none; earlier results in their rows no longer count.

        ``settings_key`` and ``weights_sha256`` say what they are to be made with, where that is news. One
        transaction, for which other threads must not write meanwhile.
        """
        statement = """
            INSERT INTO recordings (relative, source, settings_key, weights_sha256, state, updated_at)
            VALUES (?, ?, ?, ?, 'pending', ?)
            ON CONFLICT (relative) DO UPDATE SET
                source = excluded.source, state = 'pending', error = NULL,
                settings_key = coalesce(excluded.settings_key, settings_key),
                weights_sha256 = coalesce(excluded.weights_sha256, weights_sha256),
                updated_at = excluded.updated_at
        """
        wanted = (settings_key, weights_sha256)
        rows = ((_stored(job.relative), _stored_source(job.source), *wanted, _now()) for job in jobs)
        with self._guarded(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(statement, rows)

    def restore(self, rows: Iterable[Row]) -> int:
        """Put ``rows`` in, all or none, but for those that are there already; returns how many were new."""
        statement = f"INSERT OR IGNORE INTO recordings ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(Row)))})"
        with self._guarded(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            return self._database.executemany(statement, map(_values, rows)).rowcount

    def remember(self, made_with: MadeWith) -> None:
        """Keep what results are made with, in place of what was kept for the same keys."""
        values = [made_with.settings_key, made_with.weights_sha256, json.dumps(dict(made_with.settings))]
        folders = [text and _stored(text) for text in (made_with.bundle, made_with.examples)]
        self._write("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)", *values, *folders)

    def made_with(self, settings_key: str | None, weights_sha256: str | None) -> MadeWith | None:
        """What results of these keys are made with; None where an older exdiff did not say."""
        statement = "SELECT * FROM runs WHERE settings_key = ? AND weights_sha256 = ?"
        with self._guarded():
            found = self._database.execute(statement, (settings_key, weights_sha256)).fetchone()
        if found is None:
            return None
        key, weights, settings, bundle, examples = found
        return MadeWith(key, weights, json.loads(settings), os.fsdecode(bundle), examples and os.fsdecode(examples))

    def start(
        self,
        relative: Path,
        source: Path,
        content: Fingerprint,
        *,
        settings_key: str,
        weights_sha256: str,
        output: Path | None = None,
    ) -> None:
        """Record that work on ``source``, as ``content`` describes it, begins; counts one attempt.

        ``output`` is the name, below the output folder, that is the result's from now on, whether it is there or not.
        """
        statement = """
            INSERT INTO recordings
                (relative, source, size, mtime_ns, sha256, settings_key, weights_sha256, output,
                 state, attempts, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'running', 1, ?)
            ON CONFLICT (relative) DO UPDATE SET
                source = excluded.source, size = excluded.size, mtime_ns = excluded.mtime_ns,
                sha256 = excluded.sha256,
                settings_key = excluded.settings_key, weights_sha256 = excluded.weights_sha256,
                state = 'running', attempts = attempts + 1,
                output = excluded.output, output_size = NULL, output_sha256 = NULL, output_mtime_ns = NULL,
                report_sha256 = NULL, timings = '{}', updated_at = excluded.updated_at
        """
        named = None if output is None else _stored(output)
        identity = (content.size, content.mtime_ns, content.sha256, settings_key, weights_sha256, named)
        self._write(statement, _stored(relative), _stored_source(source), *identity, _now())

    def finish(
        self,
        relative: Path,
        *,
        output: Path,
        output_size: int,
        output_sha256: str,
        timings: Mapping[str, float],
        output_mtime_ns: int | None = None,
        report_sha256: str | None = None,
    ) -> None:
        """Record that ``output``, a path below the output folder, is published, and what its report is.

        Raises ValueError where the recording was not started.
        """
        statement = """
            UPDATE recordings SET
                state = 'done', error = NULL, output = ?, output_size = ?, output_sha256 = ?, output_mtime_ns = ?,
                report_sha256 = ?, timings = ?, updated_at = ?
            WHERE relative = ? AND state = 'running'
        """
        result = (_stored(output), output_size, output_sha256, output_mtime_ns, report_sha256)
        if not self._write(statement, *result, json.dumps(dict(timings)), _now(), _stored(relative)):
            raise ValueError(f"{relative} was finished without having been started")

    def fail(self, relative: Path, source: Path, error: str, *, output_gone: bool = False) -> None:
        """Record why there is no result; counts an attempt where ``start`` had not yet.

        With ``output_gone`` the name that ``start`` gave the result is free again.
        """
        self._close_row(relative, source, State.FAILED, error, attempts=1, output_gone=output_gone)

    def skip(self, relative: Path, source: Path, reason: str) -> None:
        """Record why a recording was left alone on purpose."""
        self._close_row(relative, source, State.SKIPPED, reason, attempts=0)

    def get(self, relative: Path) -> Row | None:
        """The row of one recording."""
        rows = self._select("WHERE relative = ?", _stored(relative))
        return rows[0] if rows else None

    def rows(self, state: State | None = None, page: int = PAGE_ROWS) -> Iterator[Row]:
        """All rows, or those in ``state``, by relative path; rows may be written meanwhile. Holds ``page`` of them."""
        condition, wanted = ("", ()) if state is None else ("state = ? AND ", (state.value,))
        clause = f"WHERE {condition}relative > ? ORDER BY relative LIMIT {page}"
        last: str | bytes = ""
        while found := self._select(clause, *wanted, last):
            yield from found
            last = _stored(found[-1].relative)

    def is_empty(self) -> bool:
        """Whether nothing was ever planned in it."""
        with self._guarded():
            return self._database.execute("SELECT 1 FROM recordings").fetchone() is None

    def counts(self) -> dict[State, int]:
        """How many rows there are in each state, zeros included."""
        with self._guarded():
            counted = self._database.execute("SELECT state, COUNT(*) FROM recordings GROUP BY state")
            found = dict(counted.fetchall())
        return {state: found.get(state.value, 0) for state in State}

    def latest(self) -> tuple[int, str]:
        """How many rows there are, and when one was last written, empty where there are none."""
        with self._guarded():
            count, latest = self._database.execute("SELECT COUNT(*), MAX(updated_at) FROM recordings").fetchone()
        return count, latest or ""

    def export_jsonl(self, path: Path) -> None:
        """Write all rows to ``path``, one JSON object a line, whole or not at all. Raises RecordingError."""
        publish_text(path, (f"{row.as_json()}\n" for row in self.rows()))

    def _output_intact(self, row: Row, output_root: Path, verify_hashes: bool) -> bool:
        if row.output is None:
            return False
        output = output_root / row.output
        status = output.stat()
        if status.st_size != row.output_size:
            return False
        if status.st_mtime_ns == row.output_mtime_ns or not verify_hashes:
            return True
        if file_sha256(output) != row.output_sha256:
            return False
        if not self.read_only:
            # The next run need not hash it again.
            statement = "UPDATE recordings SET output_mtime_ns = ? WHERE relative = ?"
            self._write(statement, status.st_mtime_ns, _stored(row.relative))
        return True

    def _input_unchanged(self, row: Row, source: Path) -> bool:
        status = source.stat()
        if status.st_size != row.size:
            return False
        if (Path(os.path.abspath(source)), status.st_mtime_ns) == (row.source, row.mtime_ns):
            return True
        content = fingerprint(source)
        if content.sha256 != row.sha256:
            return False
        if not self.read_only:
            # The next run takes the fast path again.
            statement = "UPDATE recordings SET source = ?, mtime_ns = ? WHERE relative = ?"
            self._write(statement, _stored_source(source), content.mtime_ns, _stored(row.relative))
        return True

    def _close_row(
        self, relative: Path, source: Path, state: State, reason: str, *, attempts: int, output_gone: bool = False
    ) -> None:
        statement = """
            INSERT INTO recordings (relative, source, state, attempts, error, updated_at)
            VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (relative) DO UPDATE SET
                source = excluded.source, state = excluded.state, error = excluded.error,
                attempts = attempts + excluded.attempts * (state <> 'running'),
                output = CASE WHEN ? THEN NULL ELSE output END,
                updated_at = excluded.updated_at
        """
        # The reason may quote a file name that is not UTF-8.
        reason = reason.encode(errors="backslashreplace").decode()
        paths = (_stored(relative), _stored_source(source))
        self._write(statement, *paths, state.value, attempts, reason, _now(), output_gone)

    def _among(
        self, jobs: Sequence[Job], columns: str, condition: str, *values: object
    ) -> dict[str | bytes, tuple[Any, ...]]:
        """``columns``, the first of them ``relative``, of those rows of ``jobs`` for which a condition holds."""
        rows: dict[str | bytes, tuple[Any, ...]] = {}
        with self._guarded():
            for page in pages((_stored(job.relative) for job in jobs), PAGE_ROWS):
                places = ", ".join("?" * len(page))
                statement = f"SELECT {columns} FROM recordings WHERE {condition} AND relative IN ({places})"
                rows |= {row[0]: row for row in self._database.execute(statement, (*values, *page))}
        return rows

    def _select(self, clause: str, *values: object) -> list[Row]:
        with self._guarded():
            found = self._database.execute(f"SELECT {_COLUMNS} FROM recordings {clause}", values)
            return [_row(values) for values in found]

    def _write(self, statement: str, *values: object) -> int:
        """Run one statement, durable on return; how many rows it touched."""
        with self._guarded():
            return self._database.execute(statement, values).rowcount

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with self._turn:
                yield
        except sqlite3.Error as error:
            raise StateError(
                f"{self.path}: cannot be read or written ({error}); check the disk, then resume"
            ) from error


class _DamagedError(Exception):
    """The file is not a sound manifest."""


def _open_to_write(path: Path) -> sqlite3.Connection:
    with _connected(str(path)) as database:
        version = _version(database, path)
        _check(database, version)
        # Some network file systems cannot hold a write-ahead log; the rollback journal is as safe there.
        with suppress(sqlite3.OperationalError):
            database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        with database:
            database.execute("BEGIN IMMEDIATE")
            _migrate(database, version)
            _check_columns(database)
            database.execute(f"UPDATE recordings SET state = {_LEFT} WHERE state = 'running'")
    return database


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not os.path.isfile(path):
        raise UsageError(f"{path.parent.parent}: no manifest in it; name an output folder of exdiff")
    address = f"file:{quote(os.fsencode(path))}?mode=ro"
    if not os.access(path.parent, os.W_OK) and not os.path.exists(f"{path}-wal"):
        # SQLite would have to create its side files; with none there nobody is writing, and it needs none.
        address += "&immutable=1"
    try:
        with _connected(address, uri=True) as database:
            version = _version(database, path)
            if version == 0:
                raise _DamagedError("it is empty")
            _check(database, version)
            if version < SCHEMA_VERSION:
                raise UsageError(f"{path}: written by an older exdiff; the next run brings it up to date")
            _check_columns(database)
        return database
    except (sqlite3.Error, _DamagedError) as error:
        # To read a database in use SQLite needs a file beside it, for which there may be no room.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL):
            raise StateError(f"{path}: cannot be read ({error}); check the disk and its free space") from None
        raise UsageError(f"{path}: cannot be read ({error}); the next run mends or replaces it") from None


@contextmanager
def _connected(address: str, *, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that is closed only where preparing it fails; damage is told from other troubles."""
    database = sqlite3.connect(address, uri=uri, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        yield database
    except BaseException as error:
        database.close()
        # The low byte is the primary code, the rest refines it.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _DamagedError(str(error)) from None
        raise


def _version(database: sqlite3.Connection, path: Path) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise NewerManifestError(
            f"{path}: written by a newer exdiff (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade exdiff, or choose another output folder"
        )
    return version


def _check(database: sqlite3.Connection, version: int) -> None:
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _DamagedError(" ".join(verdict.split()))
    if version == 0 and database.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise _DamagedError("its tables are not ours")


def _migrate(database: sqlite3.Connection, version: int) -> None:
    """Bring a manifest of ``version`` up to date, within the caller's transaction."""
    try:
        for statement in chain.from_iterable(_STEPS[version:]):
            database.execute(statement)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:  # no such table, no such column
            raise _DamagedError(str(error)) from None
        raise
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_columns(database: sqlite3.Connection) -> None:
    columns = [column[1] for column in database.execute("PRAGMA table_info(recordings)")]
    if columns != [column.name for column in fields(Row)]:
        raise _DamagedError("its table is not as it was created")


def _set_aside(path: Path, damage: _DamagedError) -> Path:
    aside = path.with_name(f"manifest.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.sqlite")
    # A write-ahead log needs no care: SQLite merged it on closing, or deletes it beside the new, empty file.
    os.replace(path, aside)
    log.warning(
        "%s: damaged (%s); set aside as %s, and rebuilt from the reports beside the results", path, damage, aside.name
    )
    return aside


def _as_recorded(row: tuple[Any, ...], source: Path, output_root: Path) -> bool:
    """Whether input and output are where they were, of the same sizes and modification times; bytes decide else."""
    _, recorded_source, size, mtime_ns, output, output_size, output_mtime_ns = row
    if output is None or recorded_source != _stored_source(source):
        return False
    try:
        original, result = os.stat(source), os.stat(os.path.join(output_root, os.fsdecode(output)))
    except OSError:
        return False
    found = (original.st_size, original.st_mtime_ns, result.st_size, result.st_mtime_ns)
    return found == (size, mtime_ns, output_size, output_mtime_ns)


def order_of(relative: Path) -> tuple[bool, bytes]:
    """What :meth:`Manifest.rows` come in the order of: SQLite puts all text before any bytes."""
    return isinstance(_stored(relative), bytes), os.fsencode(relative)


def is_another(recorded: str | Path, source: Path) -> bool:
    """Whether a recording is another file than one that a result was made of, which still is where it was."""
    try:
        return os.path.abspath(recorded) != os.path.abspath(source) and not os.path.samefile(recorded, source)
    except OSError:
        return False


def _stored(path: Path | str) -> str | bytes:
    """Text, or the raw bytes of a name that is not UTF-8, which SQLite cannot hold as text."""
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def _stored_source(source: Path) -> str | bytes:
    """Absolute, so that a later run from another folder finds it."""
    return _stored(os.path.abspath(source))


def _values(row: Row) -> tuple[object, ...]:
    """What :func:`_row` reads."""
    output = None if row.output is None else _stored(row.output)
    stored = {"relative": _stored(row.relative), "source": _stored_source(row.source), "output": output}
    stored |= {"timings": json.dumps(dict(row.timings)), "updated_at": row.updated_at or _now()}
    return tuple((asdict(row) | stored).values())


def _row(found: tuple[Any, ...]) -> Row:
    values = dict(zip((column.name for column in fields(Row)), found, strict=True))
    try:
        for name in ("relative", "source", "output"):
            values[name] = None if values[name] is None else Path(os.fsdecode(values[name]))
        return Row(**values | {"state": State(values["state"]), "timings": json.loads(values["timings"])})
    except ValueError as error:
        raise sqlite3.DataError(f"row {values['relative']}: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
