"""Whether an output folder is as it was made: its results, its reports, its manifest and, with a key, all as signed."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from exdiff_cli.audio.io import AUDIO_SUFFIXES, file_sha256
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.errors import RecordingError
from exdiff_cli.jobs import Job, Jobs
from exdiff_cli.manifest import Manifest, Row, State, order_of
from exdiff_cli.publish import reason
from exdiff_cli.report.sidecar import SUFFIX, read_sidecar, sidecar_path
from exdiff_cli.signing import Facts, read_signed, signature_folder, signature_problem
from exdiff_cli.status import all_manifests, done_rows, holds_manifest, latest_row

if TYPE_CHECKING:  # an extra, which only signatures need
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

log = logging.getLogger(__name__)

ROWS_AHEAD = 1000
"""Rows that are held at a time, however many there are."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was made.

    ``problem`` says of the result that it is ``changed``, ``missing`` or ``unreadable``; the same of its report, as in
    ``report changed``; of its row in the manifest that it is ``row altered`` or ``row missing``; of a file that it is
    ``not in the manifest``, ``not signed`` or ``left over``, as the manifest does not say that it is the result of its
    recording now; of a folder that nobody looked into it; or what is wrong with the signature.
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
    output: Path,
    checked: Callable[[], object] = lambda: None,
    public_key: Ed25519PublicKey | None = None,
    is_strict: bool = False,
) -> Iterator[Finding]:
    """Hash every result and report anew and name what differs from what was published; ``checked`` after each.

    With a key, what was signed is believed in place of the manifest, as long as its signature is good. With a key, or
    ``is_strict``, recordings that are no results are named even without a report, and folders that cannot be checked.
    """
    problem = "" if public_key is None else signature_problem(output, public_key)
    if problem:
        yield Finding("", str(signature_folder(output)), problem)
    is_signed = public_key is not None and not problem
    rows = (Facts.of_row(row) for row in done_rows(output))
    pairs = paired(rows, read_signed(output)) if is_signed else map(Pair, rows)
    results = Jobs()
    with ThreadPoolExecutor() as threads:
        while ahead := list(islice(pairs, ROWS_AHEAD)):
            results.add(Job(row.output, row.output) for pair in ahead if (row := pair.row) is not None)
            for findings in threads.map(lambda pair: list(_findings(output, pair, is_signed)), ahead):
                checked()
                yield from findings
    yield from _strangers(output, results, is_strict or public_key is not None)


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


def _strangers(output: Path, results: Jobs, is_strict: bool) -> Iterator[Finding]:
    """Reports and, if strict, recordings that are not the result of a recording that is done."""
    with all_manifests(output) as manifests:
        for found in _claimed(output, is_strict):
            if isinstance(found, Finding):
                if is_strict:
                    yield found
                else:
                    log.warning("%s", found)
            elif not results.holds(found):
                yield from _stranger(output, found, manifests, is_strict)


def _stranger(output: Path, result: Path, manifests: Sequence[Manifest], is_strict: bool) -> Iterator[Finding]:
    """What a file is that was the result of nothing when the rows were read; a run may be in progress meanwhile."""
    row, path = _row_of(result, manifests), str(output / result)
    if row is None:
        yield Finding("", path, "not in the manifest")
    elif row.state is State.DONE and row.result != result:
        yield Finding(str(row.relative), path, "left over", f"the result of its recording is {row.result} now")
    elif row.state in (State.FAILED, State.SKIPPED) or (is_strict and row.state is not State.DONE):
        detail = f"of an earlier run, or added: its recording is marked as {row.state.value}"
        yield Finding(str(row.relative), path, "left over", detail)


def _row_of(result: Path, manifests: Sequence[Manifest]) -> Row | None:
    """The recording that a name below the output folder belongs to, or last did."""
    places = {result, *(owner for manifest in manifests if (owner := manifest.owner_of(result)) is not None)}
    rows = (row for place in places if (row := latest_row(manifests, place)) is not None)
    return max(rows, key=lambda row: (row.result == result, row.state is State.DONE, row.updated_at), default=None)


def _claimed(output: Path, with_audio: bool) -> Iterator[Path | Finding]:
    """What has a report beside it, or looks like a result; and the folders in which nobody looked for that.

    Linked folders are entered once and never upwards: results may lie on another disk.
    """
    links, entered, failed = deque([str(output)]), {os.path.realpath(output)}, list[OSError]()
    while links:
        for folder, subfolders, names in os.walk(links.popleft(), onerror=failed.append):
            if folder == str(output):
                subfolders.remove(STATE_FOLDER)
            elif STATE_FOLDER in subfolders and holds_manifest(Path(folder)):
                subfolders.clear()
                yield Finding("", folder, "another output folder", "not checked; verify it by itself")
                continue
            subfolders.sort()
            for path in filter(os.path.islink, (os.path.join(folder, name) for name in subfolders)):
                target = os.path.realpath(path)
                if any(_overlap(target, each) for each in entered):
                    yield Finding("", path, "linked folder", f"not looked into, as it leads to {target}")
                else:
                    entered.add(target)
                    links.append(path)
            found = _names_in(folder, names, with_audio)
            yield from (Path(os.path.relpath(os.path.join(folder, name), output)) for name in found)
    yield from (Finding("", str(error.filename), "unreadable", reason(error)) for error in failed)


def _overlap(one: str, other: str) -> bool:
    return os.path.commonpath((one, other)) in (one, other)


def _names_in(folder: str, names: list[str], with_audio: bool) -> list[str]:
    found = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
    if with_audio:
        found |= {name for name in names if _looks_like_audio(os.path.join(folder, name))}
    return sorted(found)


def _looks_like_audio(path: str) -> bool:
    """By its suffix, or by that of what it links to."""
    paths = (path, os.path.realpath(path)) if os.path.islink(path) else (path,)
    return any(os.path.splitext(each)[1].lower() in AUDIO_SUFFIXES for each in paths)
