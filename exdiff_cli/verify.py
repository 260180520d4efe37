"""Whether an output folder is as it was made: its results, its reports, its manifest and, with a key, all as signed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from exdiff_cli.audio.io import AUDIO_SUFFIXES, file_sha256
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.errors import RecordingError
from exdiff_cli.manifest import order_of
from exdiff_cli.report.sidecar import SUFFIX, read_sidecar, sidecar_path
from exdiff_cli.signing import Facts, read_signed, signature_folder, signature_problem
from exdiff_cli.status import all_manifests, done_rows

if TYPE_CHECKING:  # an extra, which only signatures need
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ROWS_AHEAD = 1000
"""Rows that are held at a time, however many there are."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was made.

    ``problem`` says of the result that it is ``changed``, ``missing`` or ``unreadable``; the same of its report, as in
    ``report changed``; of its row in the manifest that it is ``row altered`` or ``row missing``; of a file that it is
    ``not in the manifest`` or ``not signed``; or what is wrong with the signature.
    """

    recording: str
    output: str
    problem: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.output}: {self.problem}" + (f" ({self.detail})" if self.detail else "")

    def as_json(self) -> dict[str, object]:
        return {"message_type": "finding", **asdict(self)}


@dataclass(frozen=True)
class Pair:
    """A recording by the manifest, by the signed list, or by both."""

    row: Facts | None
    signed: Facts | None = None

    @property
    def known(self) -> Facts:
        """The better authority of the two."""
        known = self.signed or self.row
        assert known is not None
        return known


def verify(
    output: Path, checked: Callable[[], object] = lambda: None, public_key: Ed25519PublicKey | None = None
) -> Iterator[Finding]:
    """Hash every result and report anew and name what differs from what was published; ``checked`` after each.

    With a key, what was signed is believed in place of the manifest, as long as its signature is good.
    """
    problem = "" if public_key is None else signature_problem(output, public_key)
    if problem:
        yield Finding("", str(signature_folder(output)), problem)
    is_signed = public_key is not None and not problem
    rows = (Facts.of_row(row) for row in done_rows(output))
    pairs = paired(rows, read_signed(output)) if is_signed else map(Pair, rows)
    with ThreadPoolExecutor() as threads:
        while ahead := list(islice(pairs, ROWS_AHEAD)):
            for findings in threads.map(lambda pair: list(_findings(output, pair, is_signed)), ahead):
                checked()
                yield from findings
    yield from _strangers(output, is_signed)


def paired(rows: Iterator[Facts], signed: Iterator[Facts]) -> Iterator[Pair]:
    """Both in one order, those of one recording together; holds one of each at a time."""
    row, found = next(rows, None), next(signed, None)
    while row is not None or found is not None:
        if found is None or (row is not None and order_of(row.relative) < order_of(found.relative)):
            yield Pair(row)
            row = next(rows, None)
        elif row is None or order_of(found.relative) < order_of(row.relative):
            yield Pair(None, found)
            found = next(signed, None)
        else:
            yield Pair(row, found)
            row, found = next(rows, None), next(signed, None)


def _findings(output: Path, pair: Pair, is_signed: bool) -> Iterator[Finding]:
    known = pair.known
    path = output / known.output

    def finding(problem: str, detail: str = "") -> Finding:
        return Finding(str(known.relative), str(path), problem, detail)

    if pair.row is None:
        yield finding("row missing", "it was signed, and the manifest does not say any more that it is done")
    elif is_signed and pair.signed is None:
        yield finding("not signed", "done or added since")
    problem = _problem(sidecar_path(path), None, known.report_sha256) if known.report_sha256 else ""
    if problem:
        yield finding(f"report {problem}")
    believed = pair.signed or (known if problem else _reported(path, known))
    altered = [] if pair.row is None else pair.row.differing(believed)
    if altered:
        yield finding("row altered", ", ".join(altered))
    problem = _problem(path, believed.output_size, believed.output_sha256)
    if problem:
        yield finding(problem)


def _reported(path: Path, known: Facts) -> Facts:
    """What the report says, which is as it was; or what is known where it cannot be understood."""
    try:
        return known.as_reported(read_sidecar(sidecar_path(path)))
    except RecordingError:
        return known


def _problem(path: Path, size: int | None, sha256: str | None) -> str:
    """How a file differs from what is known of it; empty if it does not."""
    try:
        found = path.stat().st_size
        is_same = (size is None or found == size) and (sha256 is None or file_sha256(path) == sha256)
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    return "" if is_same else "changed"


def _strangers(output: Path, is_signed: bool) -> Iterator[Finding]:
    """Reports, and in a signed folder recordings, that no row of a manifest stands for."""
    with all_manifests(output) as manifests:
        for result in _claimed(output, is_signed):
            if not any(manifest.owner_of(result) or manifest.get(result) for manifest in manifests):
                yield Finding("", str(output / result), "not in the manifest")


def _claimed(output: Path, with_audio: bool) -> Iterator[Path]:
    """What has a report beside it, or looks like a result; other output folders below this one are left out."""
    for folder, subfolders, names in os.walk(output):
        if folder != str(output) and STATE_FOLDER in subfolders:
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if name != STATE_FOLDER)
        found = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
        if with_audio:
            found |= {name for name in names if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES}
        yield from (Path(os.path.relpath(os.path.join(folder, name), output)) for name in sorted(found))
