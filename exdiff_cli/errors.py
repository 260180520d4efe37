"""Exit codes and the typed exceptions that own one.

The numbers are a contract with cron jobs and pipelines: README.md documents them, ``tests/test_errors.py`` holds them.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from signal import SIGINT, SIGPIPE, Signals


class ExitCode(IntEnum):
    """What the process tells its caller; 128+N is added by the shell's convention for signal N."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    SOME_FAILED = 3
    NO_INPUT = 4
    DEADLINE = 5
    QUALITY_GATE = 6
    LOCKED = 75


class ExdiffError(Exception):
    """An expected failure: its message is one line for the operator and never a traceback."""

    exit_code: int = ExitCode.INTERNAL


class UsageError(ExdiffError):
    """The call itself is wrong: an option, a bundle, a data directory."""

    exit_code = ExitCode.USAGE


class BundleError(UsageError):
    """A model bundle is missing, damaged or of another version."""


class DataError(UsageError):
    """A training or evaluation directory does not hold what it must."""


class NoInputError(ExdiffError):
    """Nothing to work on was found."""

    exit_code = ExitCode.NO_INPUT


class LockedError(ExdiffError):
    """Another run holds the output folder."""

    exit_code = ExitCode.LOCKED


class LateError(ExdiffError):
    """The time that was given ran out before the work could begin."""

    exit_code = ExitCode.DEADLINE


class StoppedError(ExdiffError):
    """A signal ended the work, and there is nothing to go on with."""

    exit_code = 128 + SIGINT

    def __init__(self, number: int) -> None:
        super().__init__(f"{Signals(number).name}: stopped")
        self.exit_code = 128 + number


class OutputClosedError(ExdiffError):
    """Whoever read our stdout has had enough; as if SIGPIPE had ended us, and as quietly."""

    exit_code = 128 + SIGPIPE


class StateError(ExdiffError):
    """The manifest can no longer be read or written, so the run ends; what was committed stays done."""

    exit_code = ExitCode.SOME_FAILED


class RecordingError(ExdiffError):
    """One recording cannot be read or written; the batch goes on without it."""

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}; {remedy}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class GateError(RecordingError):
    """One result is not good enough by what was asked for, so there is none."""

    exit_code = ExitCode.QUALITY_GATE


class TakenError(RecordingError):
    """The place of one result is that of another, which stays."""


class OutputError(RecordingError):
    """One result cannot be written; ``disk`` where its disk is full or fails, which will refuse the next one too."""

    def __init__(self, path: Path, problem: str, remedy: str, *, disk: bool = False) -> None:
        super().__init__(path, problem, remedy)
        self.disk = disk
