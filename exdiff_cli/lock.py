"""One run per output folder, by an advisory lock that the kernel drops when its process ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.errors import LockedError, UsageError


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold ``output`` for this process; :class:`LockedError` at once if another run holds it."""
    folder = output / STATE_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror}); name another folder with -o") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"{output}: another run is writing there; wait for it, or name another folder") from error
        yield
