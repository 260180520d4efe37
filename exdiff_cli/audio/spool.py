"""Holds a stream on disk until all of it is known, in a file without a name: whatever happens, it is gone then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from exdiff_cli.audio.recording import Samples
from exdiff_cli.publish import writing


class Spool:
    """Takes ``(channels, n)`` samples and gives them back from the start; beside ``target``, where there must be room.

    A context manager. OutputError where the disk refuses.
    """

    def __init__(self, target: Path, channels: int) -> None:
        self._target, self._channels = target, channels

    def __enter__(self) -> Spool:
        with writing(self._target):
            self._file = tempfile.TemporaryFile(dir=self._target.parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, samples: Samples) -> None:
        """Append samples."""
        with writing(self._target):
            self._file.write(np.ascontiguousarray(samples.T).tobytes())

    def windows(self, frames: int) -> Iterator[Samples]:
        """All that was written, in windows of so many frames; the last may be shorter."""
        with writing(self._target):
            self._file.seek(0)
        while content := self._read(4 * frames * self._channels):
            yield np.frombuffer(content, np.float32).reshape(-1, self._channels).T

    def _read(self, count: int) -> bytes:
        with writing(self._target):
            return self._file.read(count)
