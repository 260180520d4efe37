"""Whatever call fails, a run ends in a documented way, originals stay, and the next run completes the rest."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bundles import short_settings
from injector import CALLS, ERRORS, Fault, injected
from recordings import store

from exdiff_cli.bundle import Bundle
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.engine import RunResult, enhance_all
from exdiff_cli.errors import ExdiffError, ExitCode, UsageError
from exdiff_cli.manifest import Manifest, State
from exdiff_cli.measures.dnsmos import DnsmosScore
from exdiff_cli.publish import TEMPORARY_GLOB
from exdiff_cli.report import build
from exdiff_cli.report.sidecar import read_sidecar
from exdiff_cli.settings import Resources
from exdiff_cli.verify import verify

DOCUMENTED = {ExitCode.OK, ExitCode.USAGE, ExitCode.SOME_FAILED}
SIDECAR = ".quality.json"


@pytest.fixture(scope="module", autouse=True)
def _quick_scores() -> Iterator[None]:
    class Quick:
        def score(self, windows: list[object]) -> list[DnsmosScore]:
            return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "Dnsmos", Quick)
        yield


@dataclass(frozen=True)
class Trial:
    """Two recordings, what becomes of them without any fault, and how to run them."""

    source: Path
    run: Callable[[Path], RunResult]
    originals: dict[str, tuple[bytes, int]]
    results: dict[str, bytes]


def originals_of(source: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*.*")}


def results_of(out: Path) -> dict[str, bytes]:
    """The audio under final names, by relative path."""
    files = (path for path in out.rglob("*") if path.is_file() and STATE_FOLDER not in path.parts)
    kept = (path for path in files if not path.match(TEMPORARY_GLOB) and not path.name.endswith(SIDECAR))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def trial(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    root = tmp_path_factory.mktemp("trial")
    source = root / "in"
    store(source / "a.wav", 0.4)
    store(source / "site" / "b.flac", 0.4)
    settings = short_settings(bundle, steps=0)

    def run(out: Path) -> RunResult:
        return enhance_all([source], out, bundle, settings, Resources(batch=1))

    assert run(root / "whole").exit_code == ExitCode.OK
    return Trial(source, run, originals_of(source), results_of(root / "whole"))


def ended(trial: Trial, out: Path) -> tuple[int, list[str]]:
    """Exit code and every line that the run says."""
    try:
        result = trial.run(out)
    except ExdiffError as error:
        return error.exit_code, [str(error)]
    return result.exit_code, [str(outcome.error) for outcome in result.failed] + result.problems


def done_by(out: Path) -> set[str]:
    """The results that the manifest vouches for; none where it could not even be begun."""
    try:
        with Manifest.open(out, read_only=True) as manifest:
            return {str(row.output) for row in manifest.rows(State.DONE)}
    except UsageError:
        return set()


def check(trial: Trial, fault: Fault, out: Path) -> None:
    with injected(fault):
        code, lines = ended(trial, out)
    assert code in DOCUMENTED, lines
    assert (code == ExitCode.OK) == (not lines)
    assert not any("\n" in line or "internal error" in line for line in lines), lines
    assert originals_of(trial.source) == trial.originals
    found = results_of(out)
    assert found.keys() == done_by(out)
    assert found.items() <= trial.results.items()
    if code == ExitCode.OK:
        assert found == trial.results
    for report in out.rglob(f"*{SIDECAR}"):
        read_sidecar(report)
    assert trial.run(out).exit_code == ExitCode.OK
    assert results_of(out) == trial.results
    assert list(verify(out)) == []
    assert not list(out.rglob(TEMPORARY_GLOB))


def check_every(trial: Trial, call: str, number: int, lasting: bool, folder: Path) -> int:
    """Let every call of a kind fail in turn; returns how many there are."""
    counting = Fault(call, 0, folder.parent)
    with injected(counting):
        assert trial.run(folder / "0").exit_code == ExitCode.OK
    for nth in range(1, counting.counted + 1):
        try:
            check(trial, Fault(call, nth, folder.parent, number, lasting), folder / str(nth))
        except Exception as error:
            error.add_note(f"{call} {nth} of {counting.counted}")
            raise
    return counting.counted


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_that_fails(trial: Trial, tmp_path: Path, call: str, lasting: bool) -> None:
    assert check_every(trial, call, errno.EIO, lasting, tmp_path) >= len(trial.results)


@pytest.mark.soak
@pytest.mark.parametrize("number", ERRORS, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_with_every_error(
    trial: Trial, tmp_path: Path, call: str, lasting: bool, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    count = check_every(trial, call, number, lasting, tmp_path)
    with capsys.disabled():
        print(f"\n{call}: each of {count} failed with {os.strerror(number)}, {'lasting' if lasting else 'once'}")
