"""One run per output folder, by an advisory lock that the kernel drops when its process ends, however it ends.

A run over one part of the recordings holds its part alone and shares the folder with runs over other parts; one over
all of them shares it with nobody.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.errors import LockedError, UsageError

POLL_SECONDS = 0.2


def state_folder(output: Path, part: str = "") -> Path:
    """Where a run keeps its state: in ``output``, apart for every ``part``."""
    return output / STATE_FOLDER / part


@contextmanager
def locked(
    output: Path, part: str = "", wait: float = 0.0, waiting: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold ``output``, or a ``part`` of it, for this process.

    Waits up to ``wait`` seconds while another run holds it; then :class:`LockedError`. ``waiting`` is called now and
    then meanwhile, and what it raises ends that.
    """
    until = time.monotonic() + wait
    with ExitStack() as files:
        kinds = [(state_folder(output), fcntl.LOCK_SH if part else fcntl.LOCK_EX)]
        kinds += [(state_folder(output, part), fcntl.LOCK_EX)] if part else []
        for folder, kind in kinds:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = files.enter_context((folder / "lock").open("a"))
                while not _taken(file.fileno(), kind):
                    waiting()
                    if time.monotonic() >= until:
                        problem = f"{output}: another run is writing there; wait for it, or name another folder"
                        raise LockedError(problem)
                    time.sleep(POLL_SECONDS)
            except OSError as error:
                problem = f"{output}: cannot be written ({error.strerror}); name another folder with -o"
                raise UsageError(problem) from error
        yield


def _taken(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
