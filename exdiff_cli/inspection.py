"""What can be told of one file: its tag, the report beside it, and the original that it was made of."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from exdiff_cli.audio.io import file_sha256, probe
from exdiff_cli.audio.provenance import Provenance, read_provenance
from exdiff_cli.errors import ExitCode, RecordingError, UsageError
from exdiff_cli.manifest import Row, State
from exdiff_cli.report.sidecar import GuardMark, QualityReport, TakenFrom, read_sidecar, sidecar_path
from exdiff_cli.signing import Facts
from exdiff_cli.status import all_manifests, holds_manifest, latest_row


@dataclass(frozen=True)
class Inspection:
    """What was found of a file.

    ``tag`` is what it says of itself, oldest first; ``report`` the one beside it, if any. ``original`` is where the
    original should lie, None where nobody says; ``original_state`` is ``as recorded``, ``changed``, ``missing``,
    ``unreadable`` or ``unknown``. ``wrong`` is what contradicts, ``unknown`` what cannot be told, each in words.
    """

    file: Path
    sha256: str
    tag: tuple[Provenance, ...]
    report_path: Path | None
    report: QualityReport | None
    original: Path | None
    original_state: str
    wrong: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """NO_INPUT where nothing tells that exdiff made it, SOME_FAILED where something contradicts."""
        if self.wrong:
            return ExitCode.SOME_FAILED
        return ExitCode.OK if self.tag or self.report else ExitCode.NO_INPUT

    @property
    def original_sha256(self) -> str | None:
        """What the original should be."""
        if self.report is not None:
            return self.report.input.sha256
        return self.tag[-1].original_sha256 if self.tag else None

    def as_json(self) -> dict[str, object]:
        report = self.report and self.report.model_dump(mode="json")
        return {
            "message_type": "inspection",
            "file": str(self.file),
            "sha256": self.sha256,
            "exit_code": int(self.exit_code),
            "tag": [asdict(each) for each in self.tag],
            "report": None if self.report_path is None else str(self.report_path),
            "original": None if self.original is None else str(self.original),
            "original_sha256": self.original_sha256,
            "original_state": self.original_state,
            "guard": report["guard"] if report else None,
            "changes": report["changes"] if report else None,
            "wrong": list(self.wrong),
            "unknown": list(self.unknown),
        }

    def lines(self) -> list[str]:
        """For people."""
        found = [f"file      {self.file}", f"sha256    {self.sha256}"]
        found += [f"tag       {each}" for each in self.tag] or ["tag       none"]
        found.append(f"report    {self.report_path or 'none'}")
        if self.original_sha256:
            found.append(f"original  {self.original or 'unknown place'}: {self.original_state}")
            found.append(f"          should have sha256 {self.original_sha256}")
        if self.report is not None:
            found += [f"guard     {_in_words(mark)}" for mark in self.report.guard] or ["guard     no marks"]
            found += [f"made of   {self.report.taken_from.value}"] if self.report.taken_from else []
            found += [f"flag      {each}" for each in self.report.flags]
            found += [f"change    {each}" for each in self.report.changes] or ["change    none in format"]
        found += [f"WRONG     {each}" for each in self.wrong]
        found += [f"unknown   {each}" for each in self.unknown]
        if not self.tag and self.report_path is None:
            found.append("nothing says that exdiff made this file: it did not, or tag and report were taken away,")
            found.append("or it was copied away from its report and is of a format without a place for a tag")
        return found


def _in_words(mark: GuardMark) -> str:
    channels = ", ".join(map(str, mark.channels))
    return f"{mark.start_s:.2f} to {mark.end_s:.2f} s, channels {channels}: {mark.reason}, by {mark.decibels:.1f} dB"


def examine(file: Path) -> Inspection:
    """Look at a file, at what lies beside it and at its original.

    Raises UsageError where there is no such file, RecordingError where it cannot be read as audio.
    """
    if not file.exists():
        raise UsageError(f"{file}: does not exist; name an enhanced recording")
    recording, sha256 = probe(file), file_sha256(file)
    tag = tuple(read_provenance(file, recording.container, recording.subtype))
    path, report, problem = _report_of(file)
    wrong, row = [problem] if problem else [], _row_of(file)
    if report is not None:
        wrong += _contradictions(report, sha256, tag)
    if row is not None and row.state is State.DONE:
        wrong += _against_manifest(row, sha256, path, report)
    original = None if report is None else row.source if row is not None else _if_absolute(report)
    state = "unknown" if report is None or original is None else _state(original, report.input.sha256)
    if state == "changed":
        wrong.append(f"the original is not the file any more of which it was made: {original}")
    return Inspection(file, sha256, tag, path, report, original, state, tuple(wrong), _unknown(tag, report, original))


def _report_of(file: Path) -> tuple[Path | None, QualityReport | None, str]:
    path = sidecar_path(file)
    if not path.exists():
        return None, None, ""
    try:
        return path, read_sidecar(path), ""
    except RecordingError as error:
        return path, None, f"the report {error.problem}"


def _contradictions(report: QualityReport, sha256: str, tag: tuple[Provenance, ...]) -> list[str]:
    found = []
    if sha256 != report.output.sha256:
        found.append(f"it is not the file that its report describes, which had sha256 {report.output.sha256}")
    if report.taken_from is TakenFrom.ORIGINAL:  # which has the tag that it had, if any
        if tag and tag[-1].original_sha256 == report.input.sha256:
            found.append("its report says that it is the original itself, and its tag that it was made of that")
        return found
    if tag and tag[-1].original_sha256 != report.input.sha256:
        found.append("tag and report name different originals")
    if tag and not report.weights_sha256.startswith(tag[-1].weights):
        found.append("tag and report name different models")
    return found


def _against_manifest(row: Row, sha256: str, path: Path | None, report: QualityReport | None) -> list[str]:
    found, known = [], Facts.of_row(row)
    if row.output_sha256 not in (None, sha256):
        found.append(f"it is not the file of the manifest, which had sha256 {row.output_sha256}")
    if report is None or path is None:
        return found
    if row.report_sha256 not in (None, file_sha256(path)):
        found.append("its report is not as it was made: the manifest has another sha256 of it")
    if altered := known.differing(known.as_reported(report)):
        found.append(f"its report and the manifest differ: {', '.join(altered)}")
    return found


def _row_of(file: Path) -> Row | None:
    """What the manifest says of it, if it is still in its folder and that can be read."""
    path = file.absolute()
    for folder in path.parents:
        if holds_manifest(folder):
            with suppress(UsageError), all_manifests(folder) as manifests:  # damaged, gone, or of another version
                result = path.relative_to(folder)
                owners = {owner for manifest in manifests if (owner := manifest.owner_of(result)) is not None}
                rows = (latest_row(manifests, owner) for owner in owners)
                return next((row for row in rows if row is not None and row.result == result), None)
            break
    return None


def _if_absolute(report: QualityReport) -> Path | None:
    path = Path(report.input.path)
    return path if path.is_absolute() else None


def _state(original: Path, sha256: str) -> str:
    try:
        return "as recorded" if file_sha256(original) == sha256 else "changed"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"


def _unknown(tag: tuple[Provenance, ...], report: QualityReport | None, original: Path | None) -> tuple[str, ...]:
    """What cannot be told, and why."""
    found = []
    if report is None and tag:
        found.append("whether it is as it was made, what the guard marked and what changed: no report lies beside it")
        found.append("where its original lies: hash what you take for it and compare")
    elif report is not None and original is None:
        found.append("where its original lies: the report has a path from another folder, and no manifest tells more")
    if tag or report:
        found.append("who made tag and report: only a signature tells, see exdiff verify --public-key")
    return tuple(found)
