"""The exit codes are a contract with cron jobs and pipelines: each number is held here by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from exdiff_cli import errors
from exdiff_cli.errors import (
    BundleError,
    DataError,
    ExdiffError,
    ExitCode,
    GateError,
    LateError,
    LockedError,
    NoInputError,
    OutputClosedError,
    OutputError,
    RecordingError,
    StateError,
    StoppedError,
    TakenError,
    UsageError,
)

NUMBERS = {
    "OK": 0,
    "INTERNAL": 1,
    "USAGE": 2,
    "SOME_FAILED": 3,
    "NO_INPUT": 4,
    "DEADLINE": 5,
    "QUALITY_GATE": 6,
    "LOCKED": 75,
}
CODES = {
    ExdiffError: 1,
    UsageError: 2,
    BundleError: 2,
    DataError: 2,
    RecordingError: 3,
    OutputError: 3,
    TakenError: 3,
    GateError: 6,
    LateError: 5,
    StateError: 3,
    NoInputError: 4,
    LockedError: 75,
    StoppedError: 128 + 2,
    OutputClosedError: 128 + 13,
}


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_exit_code_has_its_number(name: str, number: int) -> None:
    assert ExitCode[name] == number


def test_no_exit_code_is_missing_or_shared() -> None:
    # __members__ lists aliases too, so a second name for one number cannot hide.
    assert set(ExitCode.__members__) == set(NUMBERS)
    assert len(ExitCode) == len(NUMBERS)


def test_no_exit_code_collides_with_a_signal() -> None:
    assert max(ExitCode) < 126


@pytest.mark.parametrize(("kind", "number"), CODES.items())
def test_exception_owns_its_code(kind: type[ExdiffError], number: int) -> None:
    assert kind.exit_code == number


def test_every_exception_is_held_here() -> None:
    defined = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert defined == set(CODES)


@pytest.mark.parametrize("kind", CODES)
def test_one_except_clause_catches_all(kind: type[ExdiffError]) -> None:
    assert issubclass(kind, ExdiffError)


def test_recording_error_says_which_what_and_remedy_in_one_line() -> None:
    error = RecordingError(Path("calls/a.wav"), "header is cut off", "copy it again")
    assert str(error) == "calls/a.wav: header is cut off; copy it again"
    assert (error.path, error.problem, error.remedy) == (
        Path("calls/a.wav"),
        "header is cut off",
        "copy it again",
    )
