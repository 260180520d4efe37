"""`enhance -`: one recording from stdin through a run of its own, and its result to stdout or into a file.

Stdin cannot be sought in, so the stream is put on disk, in a folder that only its user may read and that is gone at
the end; from there it is a recording as any other.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import BinaryIO

from exdiff_cli.bundle import Bundle
from exdiff_cli.discover import DASH
from exdiff_cli.engine import Listener, Outcome, RunOptions, RunResult, enhance_all
from exdiff_cli.errors import NoInputError, RecordingError, StoppedError, UsageError
from exdiff_cli.jobs import Job
from exdiff_cli.publish import publish_file
from exdiff_cli.report.sidecar import QualityReport
from exdiff_cli.settings import Resources, Settings
from exdiff_cli.stdout import CHUNK_BYTES, copy_to_stdout
from exdiff_cli.stopping import SIGNALS

NAME = "stdin"


def check_pipe(paths: Sequence[Path], output: Path | None, as_json: bool, for_folders: Mapping[str, object]) -> None:
    """Raise :class:`UsageError` for a call that a stream cannot serve; ``for_folders`` are options that must be unset.

    Nothing that exists is overwritten: it may be what the stream was made from.
    """
    if len(paths) > 1:
        raise UsageError("enhance -: is one stream; name nothing else beside it")
    for name, value in for_folders.items():
        if value:
            raise UsageError(f"enhance - {name}: is for folders and lists, not for a stream")
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("enhance -: stdin is a terminal; send a recording into it")
    if output is not None and output != DASH:
        if output.exists():
            raise UsageError(f"enhance - -o {output}: exists; name a new file")
    elif as_json:
        raise UsageError("enhance - --json: stdout carries the audio; name a file for it with -o")
    elif sys.stdout is None or sys.stdout.isatty():
        raise UsageError("enhance -: stdout is a terminal; send it into a file or program, or name a file with -o")


def enhance_stream(
    target: Path,
    bundle: Bundle,
    settings: Settings,
    resources: Resources,
    listener: Listener,
    options: RunOptions,
) -> RunResult:
    """Enhance stdin into the file ``target``, ``-`` for stdout; the listener hears of the end once it is there.

    Raises NoInputError where nothing came, and what :func:`copy_to_stdout` raises; a stream that cannot be enhanced is
    an outcome. A signal ends it at once, by StoppedError: there is nothing that a later call could go on with.
    """
    with _ending_on_signals(), TemporaryDirectory(prefix="exdiff-") as temporary:
        folder = Path(temporary)
        spool(sys.stdin.buffer, folder / NAME)
        patient = replace(listener, ended=lambda outcome: None)
        result = enhance_all([folder / NAME], folder / "out", bundle, settings, resources, patient, options)
        for outcome in result.done:
            assert outcome.output is not None
            if target == DASH:
                copy_to_stdout(outcome.output)
            else:
                publish_file(target, outcome.output)
        result.done, result.failed = (
            [_as_called(outcome, folder, target) for outcome in outcomes] for outcomes in (result.done, result.failed)
        )
        for outcome in (*result.done, *result.failed):
            listener.ended(outcome)
    result.output = target
    return result


def spool(source: BinaryIO, path: Path) -> None:
    """Put a stream on disk, in constant memory; NoInputError for an empty one, RecordingError without room."""
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK_BYTES)
    except OSError as error:
        problem = f"cannot be kept in {path.parent.parent} ({error.strerror})"
        raise RecordingError(Path(NAME), problem, "set TMPDIR to a folder with room for it, twice") from error
    if not path.stat().st_size:
        raise NoInputError("stdin: is empty; see what the program before the pipe says")


class _Signalled(BaseException):
    """Raised in the middle of anything; no Exception, lest it be taken for a failure of what it interrupts."""


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises StoppedError, after all that was begun is cleared up; a second one kills."""

    def handle(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise _Signalled(number)

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    except _Signalled as signalled:
        raise StoppedError(*signalled.args) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _as_called(outcome: Outcome, folder: Path, target: Path) -> Outcome:
    """The outcome in the caller's names: nobody can find what was in the temporary folder."""
    error = outcome.error and outcome.error.replace(f"{folder / 'out'}/", "result of ").replace(f"{folder}/", "")
    report = outcome.report and _report_as_called(outcome.report, target)
    output = target if outcome.report else None
    return replace(outcome, job=Job(DASH, Path(NAME)), output=output, error=error, report=report)


def _report_as_called(report: QualityReport, target: Path) -> QualityReport:
    source = report.input.model_copy(update={"path": str(DASH)})
    return report.model_copy(update={"input": source, "output": report.output.model_copy(update={"path": str(target)})})
