"""Writes files whole or not at all: to a hidden neighbour first, which is on the disk before it gets its name."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import soundfile as sf

from exdiff_cli.errors import OutputError

TEMPORARY_GLOB = ".exdiff-*.part"
"""Matches what a killed process may leave behind; nothing under such a name is ever complete."""

# libsndfile's code for an error of the system, which it does not name.
_SYSTEM_ERROR = 2
_DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN}
)


def publish_text(path: Path, text: str | Iterable[str]) -> None:
    """Write ``text``, or what it gives, as UTF-8 to ``path``, whole or not at all.

    Creates the folder. Raises RecordingError.
    """
    with atomic(path) as temporary:
        write_text(path, temporary, text)


def write_text(target: Path, temporary: Path, text: str | Iterable[str]) -> None:
    """Write ``text``, or what it gives, as UTF-8 to what :func:`atomic` gave for ``target``. Raises RecordingError."""
    with writing(target):
        # File names may hold bytes that are not UTF-8; a report must not fail on them.
        file = temporary.open("w", encoding="utf-8", errors="backslashreplace")
        with file:
            file.writelines([text] if isinstance(text, str) else text)


def publish_file(path: Path, source: Path) -> None:
    """Copy the bytes of ``source`` to ``path``, whole or not at all. Creates the folder. Raises RecordingError."""
    with atomic(path) as temporary, writing(path):
        shutil.copyfile(source, temporary)


def publish_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all. Creates the folder. Raises RecordingError."""
    with atomic(path) as temporary, writing(path):
        temporary.write_bytes(content)


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Give a hidden path beside ``target``; what is written there becomes ``target`` on a clean exit only.

    Raises OutputError, also where a folder or device has that name: whoever may would put a file in its place.
    """
    if target.exists() and not target.is_file():
        raise OutputError(target, "is no regular file, and would be replaced by one", "name a file")
    temporary = target.with_name(TEMPORARY_GLOB.replace("*", uuid4().hex))
    with writing(target):
        _make_folder(target.parent)
    try:
        yield temporary
        with writing(target):
            _sync(temporary)
            os.replace(temporary, target)
            _sync_name(target)
    finally:
        with writing(target):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_set(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """As :func:`atomic`, of several files: none gets its name before all are on the disk, and the last one last."""
    with ExitStack() as parts:
        temporaries = [parts.enter_context(atomic(target)) for target in reversed(targets)][::-1]
        yield temporaries
        for target, temporary in zip(targets, temporaries, strict=True):
            with writing(target):
                _sync(temporary)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Where the disk refuses, an OutputError that names ``target``."""
    try:
        yield
    except (OSError, sf.LibsndfileError) as error:
        problem, remedy = f"cannot be written ({reason(error)})", "check free space and permissions, then run again"
        raise OutputError(target, problem, remedy, disk=_is_of_the_disk(error)) from error


def _is_of_the_disk(error: OSError | sf.LibsndfileError) -> bool:
    return error.errno in _DISK_ERRORS if isinstance(error, OSError) else error.code == _SYSTEM_ERROR


def _make_folder(folder: Path) -> None:
    """Create ``folder`` and those above it, each of them durable."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_name(path: Path) -> None:
    """Make the name durable, or take it away again: what might be gone after a power cut is not published."""
    try:
        _sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network mounts have no such thing
            raise


def reason(error: OSError | sf.LibsndfileError) -> str:
    """What the system or libsndfile says, to go into a line of our own."""
    text = error.strerror if isinstance(error, OSError) else error.error_string
    return (text or str(error)).strip(" .")
