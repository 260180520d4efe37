"""Which of the recordings that were found are wanted: by name, by age, by shard."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

from exdiff_cli.errors import UsageError
from exdiff_cli.jobs import Job, Jobs

AGES = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True)
class Shard:
    """Part ``number``, from 1, of ``count``."""

    number: int
    count: int

    @property
    def name(self) -> str:
        """For its state folder."""
        return f"shard-{self.number}-of-{self.count}"

    def holds(self, relative: Path) -> bool:
        """Every recording is in one shard, which depends on its relative path alone."""
        digest = blake2b(os.fsencode(relative.as_posix()), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


@dataclass(frozen=True)
class Selection:
    """What must be true of a recording for it to be worked on; ``newer_than`` in seconds since the epoch.

    Patterns are those of a shell, of the path below the input folder or of the name alone; ``*`` matches slashes too.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    newer_than: float | None = None
    shard: Shard | None = None

    def of(self, jobs: Jobs) -> Jobs:
        """Those that are wanted."""
        return jobs if self == Selection() else Jobs(job for job in jobs if self.wants(job))

    def wants(self, job: Job) -> bool:
        """Whether one is. What cannot be looked at is, so that it fails visibly."""
        if self.include and not _matches(job.relative, self.include):
            return False
        if _matches(job.relative, self.exclude):
            return False
        if self.shard is not None and not self.shard.holds(job.relative):
            return False
        return self.newer_than is None or _modified(job.source) > self.newer_than


def _matches(relative: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(relative.as_posix(), each) or fnmatchcase(relative.name, each) for each in patterns)


def _modified(source: Path) -> float:
    try:
        return source.stat().st_mtime
    except OSError:
        return float("inf")


def parse_shard(text: str) -> Shard:
    """``3/16``; :class:`UsageError` for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text}: give part and number of parts, from 1/16 to 16/16")
    return Shard(int(match[1]), int(match[2]))


def parse_newer_than(text: str, now: float) -> float:
    """An age, ``36h`` or ``7d``, or a local date with or without time, as seconds since the epoch."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if match is not None:
        return now - float(match[1]) * AGES[match[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError as error:
        raise UsageError(
            f"--newer-than {text}: give an age, 36h or 7d, or a date, 2026-05-31 or 2026-05-31T06:00"
        ) from error
