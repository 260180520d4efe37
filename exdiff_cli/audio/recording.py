"""What is known of a recording, how its result is stored, and how its file is opened.

Audio is a float32 NumPy array ``(channels, frames)`` with full scale at 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from exdiff_cli.errors import RecordingError
from exdiff_cli.publish import reason

Samples = NDArray[np.float32]

_READ_PROBLEMS = {
    FileNotFoundError: ("does not exist", "check the path, or whether it was moved meanwhile"),
    PermissionError: ("reading it is not permitted", "grant read permission to the user who runs this"),
}


@dataclass(frozen=True)
class Recording:
    """What is known of a file.

    ``sample_rate`` is in Hertz, ``frames`` per channel; ``container``, ``subtype`` and ``endian`` are names
    of libsndfile, or after FFmpeg's; ``tags`` are the title, artist and so on; ``modified_ns`` is the file's
    modification time and ``mode`` its permissions. ``layout`` is FFmpeg's name for the channels and ``bit_rate`` what
    the codec takes a second, where known; ``bits`` are those of a lossless sample; ``left_out`` says what the file
    holds beside the sound that is read.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    container: str
    subtype: str
    endian: str = "FILE"
    tags: tuple[tuple[str, str], ...] = ()
    modified_ns: int | None = None
    mode: int | None = None
    layout: str = ""
    bit_rate: int | None = None
    bits: int = 16
    left_out: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


_PCM_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}
"""Codings coarser than our samples."""


@dataclass(frozen=True)
class OutputFormat:
    """How a result is stored; ``suffix`` is empty where the source's own format is kept.

    ``bit_rate`` is that of a lossy codec where one is asked for.
    """

    container: str
    subtype: str
    endian: str
    suffix: str = ""
    bit_rate: int | None = None

    @property
    def kept(self) -> bool:
        return not self.suffix

    @property
    def is_floating(self) -> bool:
        """Whether it holds samples beyond full scale."""
        return self.subtype in ("FLOAT", "DOUBLE")

    def stored(self, samples: Samples) -> Samples:
        """Samples as this format holds them, rounded to its steps; libsndfile, which clips, would cut them off.

        That would be half a step too low on average, and audible in eight bits. Of other codings the codec decides.
        """
        if self.subtype not in _PCM_BITS:
            return samples
        steps = 2.0 ** (_PCM_BITS[self.subtype] - 1)
        return (np.round(samples.astype(np.float64) * steps) / steps).astype(np.float32)

    def target(self, path: Path) -> Path:
        """``path``, with the suffix appended where it differs: ``a.gsm`` and ``a.wav`` must not collide."""
        if self.kept or path.suffix.lower() == self.suffix:
            return path
        return path.with_name(path.name + self.suffix)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` to read; what the system refuses, now and while reading, becomes RecordingError."""
    try:
        _require_content(path)
        with path.open("rb") as raw:
            yield raw
    except OSError as error:
        unknown = f"cannot be read ({reason(error)})", "check the disk and the mount"
        problem, remedy = _READ_PROBLEMS.get(type(error), unknown)
        raise RecordingError(path, problem, remedy) from error


def _require_content(path: Path) -> None:
    status = path.stat()
    if S_ISDIR(status.st_mode):
        raise RecordingError(path, "is a folder, not a recording", "name the recordings in it")
    if not S_ISREG(status.st_mode):
        raise RecordingError(path, "is not a regular file", "copy its content to a file first")
    if not status.st_size:
        raise RecordingError(path, "is empty (zero bytes)", "record or copy it again")
