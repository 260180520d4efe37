"""Rebuilds a manifest that was damaged or lost from the quality reports that lie beside the results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.errors import RecordingError
from exdiff_cli.manifest import Manifest, Row, State
from exdiff_cli.report.sidecar import SUFFIX, QualityReport, read_sidecar

log = logging.getLogger(__name__)


def rebuild(manifest: Manifest, output: Path, is_wanted: Callable[[Path], bool] | None = None) -> None:
    """Fill the empty ``manifest`` of ``output`` with what is done by the reports there, as far as it ``is_wanted``.

    A report is believed only as far as ``Manifest.is_done`` finds its hashes to be true. Those that are damaged are
    passed over: their recordings are done again. Raises RecordingError where the folder cannot be searched.
    """
    try:
        count = manifest.restore(row for row in _rows(output) if is_wanted is None or is_wanted(row.relative))
    except OSError as error:
        problem = f"cannot be searched for reports ({error.strerror})"
        raise RecordingError(output, problem, "check the disk; finished recordings are done again") from error
    if count > 0 and manifest.set_aside is None:
        log.warning("%s: was gone; rebuilt from %d reports beside the results", manifest.path, count)


def _rows(output: Path) -> Iterator[Row]:
    for path in output.rglob(f"*{SUFFIX}"):
        with suppress(RecordingError, OSError):
            yield replace(_row(path.relative_to(output), read_sidecar(path)), report_sha256=file_sha256(path))


def _row(sidecar: Path, report: QualityReport) -> Row:
    """The row that its run committed, but for the original's time: that is hashed once more."""
    result = sidecar.with_name(sidecar.name.removesuffix(SUFFIX))
    # Where the format could not be kept, a suffix was appended.
    is_kept = PurePath(report.input.path).name == PurePath(report.output.path).name
    return Row(
        relative=result if is_kept else result.with_suffix(""),
        source=Path(report.input.path),
        size=report.input.bytes,
        mtime_ns=None,
        sha256=report.input.sha256,
        settings_key=report.settings_key,
        weights_sha256=report.weights_sha256,
        state=State.DONE,
        attempts=1,
        error=None,
        output=result,
        output_size=report.output.bytes,
        output_sha256=report.output.sha256,
        timings=report.seconds,
    )
