"""Which recordings a listening test may draw from, and where each system's version of them lies."""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath

from exdiff_cli.audio.io import AUDIO_SUFFIXES, file_sha256
from exdiff_cli.errors import DataError, NoInputError, RecordingError, UsageError
from exdiff_cli.manifest import Row, State
from exdiff_cli.publish import reason
from exdiff_cli.status import all_manifests, done_rows, latest_row
from exdiff_cli.text import printable

log = logging.getLogger(__name__)

REFERENCE, ANCHOR, ORIGINAL, ENHANCED = "reference", "anchor", "original", "enhanced"
"""What systems are called; output folders go by their own names where there are several."""

SPARE = 10
"""So many recordings are drawn for each excerpt, as some may be gone, or nobody may speak in them."""


@dataclass(frozen=True)
class Comparison:
    """What is compared: an output folder with its originals, or with others; ``reference`` holds clean recordings."""

    output: Path
    against: tuple[Path, ...] = ()
    reference: Path | None = None

    @property
    def enhanced(self) -> dict[str, Path]:
        """Output folders by the names of their systems; :class:`UsageError` where a folder stands twice."""
        folders = [self.output, *self.against]
        if len({folder.resolve() for folder in folders}) < len(folders):
            raise UsageError("--against: names a folder that is compared already; name another output folder")
        if not self.against:
            return {ENHANCED: self.output}
        names = [printable(folder.resolve().name) for folder in folders]
        if len({*names, REFERENCE, ANCHOR, ORIGINAL}) < len(names) + 3:
            names = [printable(str(folder)) for folder in folders]
        return dict(zip(names, folders, strict=True))

    @property
    def has_originals(self) -> bool:
        """Two output folders are compared with each other alone, unless there is a reference."""
        return self.reference is not None or not self.against


@dataclass(frozen=True)
class Version:
    """One file; ``sha256`` is what it must have, where that is known."""

    path: Path
    sha256: str | None = None

    def check(self) -> None:
        """RecordingError where it is gone or another one by now."""
        try:
            is_same = self.sha256 is None or file_sha256(self.path) == self.sha256
        except OSError as error:
            raise RecordingError(self.path, f"cannot be read ({reason(error)})", "it is passed over") from error
        if not is_same:
            raise RecordingError(self.path, "is not the file that it was when it was enhanced", "it is passed over")


@dataclass(frozen=True)
class Source:
    """One recording: its name in the output folder, the SHA-256 of its original, and its versions by system."""

    name: str
    sha256: str
    versions: Mapping[str, Version]


def find_sources(comparison: Comparison, excerpts: int, seed: int) -> list[Source]:
    """Draw recordings for so many excerpts, the same for a seed whatever else the folder holds.

    Raises :class:`UsageError` where a folder is no output folder, :class:`DataError` where there is no reference, and
    :class:`NoInputError` where no recording is in all of them.
    """
    left_out: Counter[str] = Counter()
    found = heapq.nsmallest(SPARE * excerpts, _matched(comparison, left_out), key=lambda source: _draw(seed, source))
    for why, count in left_out.items():
        log.warning("recordings passed over: %d, as %s", count, why)
    if not found:
        raise NoInputError(f"{comparison.output}: no recordings to compare; look at `exdiff status` of each folder")
    return found


def _draw(seed: int, source: Source) -> tuple[bytes, str]:
    return hashlib.sha256(f"{seed}:{source.sha256}".encode()).digest(), source.name


def _matched(comparison: Comparison, left_out: Counter[str]) -> Iterator[Source]:
    (first, output), *others = comparison.enhanced.items()
    references = _References(comparison.reference) if comparison.reference is not None else None
    with ExitStack() as stack:
        opened = [(system, folder, stack.enter_context(all_manifests(folder))) for system, folder in others]
        for row in done_rows(output):
            versions = {ORIGINAL: Version(row.source, row.sha256)} if comparison.has_originals else {}
            versions[first] = _result(output, row)
            for system, folder, manifests in opened:
                other = latest_row(manifests, row.relative)
                if other is None or other.state is not State.DONE or other.sha256 != row.sha256:
                    left_out[f"{folder} has none of the same original"] += 1
                    break
                versions[system] = _result(folder, other)
            else:
                clean = references.of(row.relative) if references else None
                if references and clean is None:
                    left_out[f"{comparison.reference} has no recording of the same name"] += 1
                    continue
                known = {REFERENCE: Version(clean)} if clean else {}
                yield Source(printable(row.relative.as_posix()), row.sha256 or "", {**known, **versions})


def _result(folder: Path, row: Row) -> Version:
    return Version(folder / (row.output or row.relative), row.output_sha256)


class _References:
    """Clean recordings by their relative names without suffix, or, where that is unique, by their bare ones."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; --reference needs one of clean recordings")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        if not files:
            raise DataError(f"{folder}: holds no recordings; --reference needs clean ones of the same names")
        self._by_place = {path.relative_to(folder).with_suffix(""): path for path in files}
        counts = Counter(path.stem for path in files)
        self._by_stem = {path.stem: path for path in files if counts[path.stem] == 1}

    def of(self, relative: PurePath) -> Path | None:
        return self._by_place.get(Path(relative).with_suffix("")) or self._by_stem.get(relative.stem)
