"""Results on stdout: whole JSON lines, told at once, or audio; and what it means that nobody reads on."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from exdiff_cli.errors import OutputClosedError, RecordingError

if TYPE_CHECKING:  # rich is for those who look
    from rich.table import Table

CHUNK_BYTES = 1 << 20

_lock = Lock()


def print_json(message: Mapping[str, object]) -> None:
    """One object on a line of its own, from whatever thread; raises as :func:`copy_to_stdout` does."""
    line = json.dumps(message)
    with _lock, _writing():
        if sys.stdout is not None:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def print_lines(lines: Iterable[str]) -> None:
    """Lines that end themselves, as they come; raises as :func:`copy_to_stdout` does."""
    with _lock, _writing():
        if sys.stdout is not None:
            sys.stdout.writelines(lines)
            sys.stdout.flush()


def print_text(line: str) -> None:
    """One line; raises as :func:`copy_to_stdout` does."""
    print_lines([f"{line}\n"])


def print_table(table: Table) -> None:
    """In the colours and the width of the terminal, if stdout is one; raises as :func:`copy_to_stdout` does."""
    from rich.console import Console

    if sys.stdout is not None:
        # Not to stdout itself: rich ends the process where nobody reads on, and raises its own errors.
        screen, drawn = Console(), io.StringIO()
        Console(file=drawn, force_terminal=screen.is_terminal, width=screen.width).print(table)
        print_lines([drawn.getvalue()])


def write_what_can_be_written() -> None:
    """A terminal or file that knows few characters gets escapes in place of the others, not an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # of a file that it cannot tell the place in
            sys.stdout.reconfigure(errors="backslashreplace")


def copy_to_stdout(path: Path) -> None:
    """The bytes of a file, in constant memory.

    Raises :class:`OutputClosedError` where the reader went away, RecordingError where they cannot be written.
    """
    # Not sys.stdout.buffer: with PYTHONUNBUFFERED that may write a part only.
    with path.open("rb") as file, _writing(), open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        shutil.copyfileobj(file, stdout, CHUNK_BYTES)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _forget_the_rest()
        raise OutputClosedError from None
    except OSError as error:
        _forget_the_rest()
        raise RecordingError(Path("stdout"), f"cannot be written ({error.strerror})", "check the disk") from error


def _forget_the_rest() -> None:
    """Python would fail once more as it ends, on what is left in its buffer."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
