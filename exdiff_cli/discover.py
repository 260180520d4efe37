"""Finds the recordings a call names and their places in the output; refuses unsafe combinations up front."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from errno import ENOENT, ENOTDIR
from itertools import chain
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

from exdiff_cli.errors import NoInputError, RecordingError, UsageError
from exdiff_cli.jobs import Job, Jobs

DASH = Path("-")
"""Stands for stdin where a recording is named, and for stdout where a result is."""

STATE_FOLDER = ".exdiff"
"""Folder that marks an output folder as ours and holds its state."""

LIST_BLOCK = 65_536
SYSTEM_FOLDERS = frozenset({"lost+found", "$RECYCLE.BIN", "System Volume Information"})


@dataclass(frozen=True)
class Discovery:
    """The recordings in the order of their relative paths, and what could not be looked into."""

    jobs: Jobs
    problems: tuple[RecordingError, ...] = ()


def discover(paths: Sequence[Path], output: Path | None, suffixes: frozenset[str]) -> Discovery:
    """Find the recordings that ``paths`` name; ``suffixes`` are lower case and start with a dot.

    A file is taken whatever its suffix. A folder is searched for ``suffixes`` at any depth; hidden entries,
    the folder ``output`` and every other output folder of ours are left out. Linked folders are followed, but
    once only and never upwards. A folder named like a recording that holds none becomes a job, so that
    reading it fails where the user can see it.

    Raises UsageError where a path cannot be used, ``output`` overlaps the inputs unsafely, or two recordings
    would be written to one place; NoInputError where there is nothing to do.
    """
    folders = [path for path in dict.fromkeys(paths) if _is_folder(path)]
    if output is not None:
        _check_output(paths, output)
    trees = [_Tree(folder, output, suffixes) for folder in folders]
    jobs = Jobs(Job(path, Path(path.name)) for path in set(paths).difference(folders))
    for tree in trees:
        jobs.add(tree.search())
    jobs.refuse_collisions()
    problems = sorted(chain.from_iterable(tree.problems for tree in trees), key=lambda problem: problem.path)
    if not jobs:
        raise NoInputError(_nothing_found(folders, suffixes, problems))
    return Discovery(jobs, tuple(problems))


def discover_listed(paths: Iterable[Path], output: Path) -> Discovery:
    """The recordings of a list, each at its own path below the output folder: ``/a/b.wav`` at ``a/b.wav``.

    So that a place does not depend on what else is listed. What is gone or no file is a problem of that entry alone:
    lists grow old. Raises :class:`UsageError` where ``output`` overlaps unsafely or two would be written to one place,
    and :class:`NoInputError` for an empty list.
    """
    problems: list[RecordingError] = []
    jobs = Jobs(_listed(paths, problems))
    _check_output((job.source for job in jobs), output)
    if not jobs:
        raise NoInputError("no recordings listed" + (f"; first of {len(problems)}: {problems[0]}" if problems else ""))
    jobs.refuse_collisions()
    return Discovery(jobs, tuple(problems))


def _listed(paths: Iterable[Path], problems: list[RecordingError]) -> Iterator[Job]:
    for path in paths:
        try:
            is_file = S_ISREG(path.stat().st_mode)
        except OSError as error:
            reason = "does not exist" if error.errno in (ENOENT, ENOTDIR) else f"cannot be opened ({error.strerror})"
        else:
            reason = "" if is_file else "is no file"
        if reason:
            problems.append(RecordingError(path, reason, "take it off the list, or mend it"))
        else:
            yield Job(path, _mirrored(path))


def _mirrored(path: Path) -> Path:
    """Where a listed path lies below the output; one that leads upwards as if it were absolute."""
    plain = Path(os.path.normpath(path))
    if not plain.is_absolute() and ".." in plain.parts:
        plain = Path(os.path.abspath(path))
    return plain.relative_to(plain.anchor) if plain.is_absolute() else plain


def read_list(source: BinaryIO, null: bool) -> Iterator[Path]:
    """Paths, one a line or, with ``null``, each ended by a zero byte; names may be any bytes but these."""
    entries = _split(source, b"\0") if null else (line.rstrip(b"\n").removesuffix(b"\r") for line in source)
    return (Path(os.fsdecode(entry)) for entry in entries if entry)


def _split(source: BinaryIO, end: bytes) -> Iterator[bytes]:
    rest = b""
    while block := source.read(LIST_BLOCK):
        *entries, rest = (rest + block).split(end)
        yield from entries
    yield rest


def default_output(paths: Sequence[Path]) -> Path:
    """The folder beside the one input: ``calls-enhanced`` for ``calls``, ``a/b-enhanced`` for ``a/b.wav``.

    Raises UsageError where there is not exactly one input, or nothing can lie beside it.
    """
    if len(paths) != 1:
        raise UsageError(f"{len(paths)} inputs need one output folder: name it with -o")
    path = paths[0] if paths[0].name not in ("", "..") else Path(os.path.abspath(paths[0]))
    if not path.name:
        raise UsageError(f"{path}: no folder can lie beside it; name the output folder with -o")
    name = path.name if _is_folder(path) else path.stem
    return path.with_name(f"{name}-enhanced")


class _Tree:
    """The search below one root.

    Linked folders wait until the real ones are done: a recording is then found under its own path first, and
    each folder is entered once however many links lead to it, so that loops end.
    """

    def __init__(self, root: Path, output: Path | None, suffixes: frozenset[str]) -> None:
        self.root = root
        self.suffixes = suffixes
        self.output = _real(output) if output is not None else None
        self.problems: list[RecordingError] = []
        self._empty_lookalikes: set[Path] = set()
        """Folders named like recordings in which none was found yet."""
        self._links: deque[Path] = deque()
        # A link upwards would draw in all that lies around the root, at worst the whole disk.
        never_entered = [*_real(root).parents, *([self.output] if self.output is not None else [])]
        self._entered = {_identity(folder) for folder in never_entered if os.path.exists(folder)}

    def search(self) -> Iterator[Job]:
        """Every recording, folder by folder; :attr:`problems` are complete at the end."""
        self._links.append(self.root)
        while self._links:
            pending = [self._links.popleft()]
            while pending:
                subfolders = yield from self._enter(pending.pop())
                pending.extend(sorted(subfolders, reverse=True))
        for folder in self._empty_lookalikes:
            yield Job(folder, Path(folder.name) if folder == self.root else folder.relative_to(self.root))

    def _enter(self, folder: Path) -> Generator[Job, None, list[Path]]:
        """What lies directly in ``folder``, in any order; returns its real subfolders, still to be entered."""
        subfolders: list[Path] = []
        try:
            identity = _identity(folder)
            if identity in self._entered:
                return []
            self._entered.add(identity)
            with os.scandir(folder) as entries:
                if os.path.lexists(folder / STATE_FOLDER):
                    self._refuse_own_root(folder)
                    return []
                if folder.suffix.lower() in self.suffixes:
                    self._empty_lookalikes.add(folder)
                yield from self._sort_out(entries, folder, subfolders)
        except OSError as error:
            problem = f"folder cannot be read ({error.strerror})"
            self.problems.append(RecordingError(folder, problem, "grant read access or leave it out"))
        return subfolders

    def _sort_out(self, entries: Iterable[os.DirEntry[str]], folder: Path, subfolders: list[Path]) -> Iterator[Job]:
        links, below = [], folder.relative_to(self.root)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SYSTEM_FOLDERS:
                    subfolders.append(Path(entry.path))
            elif entry.is_symlink() and os.path.isdir(entry.path):
                links.append(Path(entry.path))
            elif os.path.splitext(entry.name)[1].lower() in self.suffixes and self._is_wanted(entry):
                self._empty_lookalikes.difference_update((folder, *folder.parents) if self._empty_lookalikes else ())
                yield Job(Path(entry.path), below / entry.name)
        self._links.extend(sorted(links))

    def _is_wanted(self, entry: os.DirEntry[str]) -> bool:
        """Whether it may be read; otherwise that is a problem."""
        if entry.is_file(follow_symlinks=False):
            return True
        path = Path(entry.path)
        # A dangling link is taken, so that reading it fails visibly; reading a named pipe would never end.
        if os.path.exists(path) and not os.path.isfile(path):
            self.problems.append(RecordingError(path, "not a regular file", "remove or rename it"))
        elif entry.is_symlink() and self.output is not None and _real(path).is_relative_to(self.output):
            self.problems.append(
                RecordingError(path, "links into the output folder", "link to the original, or choose another -o")
            )
        else:
            return True
        return False

    def _refuse_own_root(self, folder: Path) -> None:
        if folder == self.root:
            raise UsageError(
                f"{folder}: an output folder of exdiff (it holds {STATE_FOLDER}); name the recordings it was made from"
            )


def _is_folder(path: Path) -> bool:
    """True for a folder, False for a regular file; UsageError for all else."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UsageError(f"{path}: does not exist; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be opened ({reason}); check the path and its permissions") from None
    if not (S_ISDIR(mode) or S_ISREG(mode)):
        raise UsageError(f"{path}: neither a file nor a folder; pipe a stream in with '-' instead")
    return S_ISDIR(mode)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _real(path: Path) -> Path:
    """``path`` with all links resolved; unlike Path.resolve it does not raise on a loop."""
    return Path(os.path.realpath(path))


def _check_output(paths: Iterable[Path], output: Path) -> None:
    real = _real(output)
    if os.path.exists(real) and not os.path.isdir(real):
        raise UsageError(f"{output}: the output must be a folder, and this is a file; choose another with -o")
    for path in paths:
        source = _real(path)
        if source == real:
            raise UsageError(f"{output}: both input and output, originals would be lost; choose another with -o")
        if source.is_relative_to(real):
            raise UsageError(f"{path}: lies inside the output folder {output}; choose another with -o")
        if real.is_relative_to(source):
            raise UsageError(f"{output}: lies inside the input {path}; choose another with -o, beside it")


def _nothing_found(folders: Sequence[Path], suffixes: frozenset[str], problems: Sequence[RecordingError]) -> str:
    if not folders:
        return "no recordings to enhance: no path was given"
    places = ", ".join(map(str, folders[:3])) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "")
    message = f"no recordings found in {places} (looked for {' '.join(sorted(suffixes))})"
    return f"{message}; {len(problems)} could not be read, first {problems[0]}" if problems else message
