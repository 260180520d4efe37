"""Makes the Nth open, write, fsync, rename or statement of the manifest fail, once or from then on."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import soundfile

from exdiff_cli.audio import sndfile

CALLS = ("open", "write", "fsync", "rename", "commit")
SQLITE_CODES = {
    errno.EIO: sqlite3.SQLITE_IOERR,
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EACCES: sqlite3.SQLITE_READONLY,
}
ERRORS = tuple(SQLITE_CODES)


@dataclass
class Fault:
    """The ``nth`` call of a kind, from 1, fails with ``number``, and with ``lasting`` all after it; 0 only counts.

    Calls are those of the code under test: ``write`` is libsndfile's or a text file's, ``commit`` any statement that
    the manifest runs. Files outside of ``below`` open as ever.
    """

    call: str
    nth: int
    below: Path
    number: int = errno.EIO
    lasting: bool = False
    counted: int = 0
    _untold: bool = False
    _lock: Lock = field(default_factory=Lock)

    @property
    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number))

    def is_due(self, call: str) -> bool:
        """Count one call of a kind; whether it must fail."""
        if call != self.call:
            return False
        with self._lock:
            self.counted += 1
            return bool(self.nth) and (self.counted == self.nth or (self.lasting and self.counted > self.nth))

    def guard(self, call: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """``original``, which fails when it is due."""

        def guarded(*given: Any, **named: Any) -> Any:
            if (call != "open" or self._concerns(given[0])) and self.is_due(call):
                raise self.error
            return original(*given, **named)

        return guarded

    def _concerns(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).is_relative_to(self.below)

    def write_audio(self, original: Callable[..., None]) -> Callable[..., None]:
        """libsndfile does not say which error of the system it met; whoever writes on gets to know."""

        def write(file: Any, samples: Any) -> None:
            if self.is_due("write"):
                self._untold = True
                raise soundfile.LibsndfileError(2)
            original(file, samples)

        return write

    def write_on(self, original: Callable[..., int]) -> Callable[..., int]:
        def write(descriptor: int, content: Any) -> int:
            if self._untold:
                self._untold = False
                raise self.error
            return original(descriptor, content)

        return write

    def connection(self) -> type[sqlite3.Connection]:
        fault = self

        class Faulty(sqlite3.Connection):
            def execute(self, *given: Any) -> sqlite3.Cursor:
                if fault.is_due("commit"):
                    error = sqlite3.OperationalError(os.strerror(fault.number))
                    error.sqlite_errorcode = SQLITE_CODES[fault.number]
                    raise error
                return super().execute(*given)

        return Faulty


@contextmanager
def injected(fault: Fault) -> Iterator[Fault]:
    """Let ``fault`` happen meanwhile."""
    connect, connection = sqlite3.connect, fault.connection()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", fault.guard("open", io.open))
        patch.setattr(os, "open", fault.guard("open", os.open))
        patch.setattr(os, "fsync", fault.guard("fsync", os.fsync))
        patch.setattr(os, "replace", fault.guard("rename", os.replace))
        patch.setattr(Path, "write_text", fault.guard("write", Path.write_text))
        patch.setattr(sndfile._Sequential, "write", fault.write_audio(sndfile._Sequential.write))
        patch.setattr(os, "write", fault.write_on(os.write))
        patch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, factory=connection, **named))
        yield fault
