"""The pictures that a run report shows: spectrograms before and after in one small PNG, drawn in threads."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exdiff_cli.errors import RecordingError
from exdiff_cli.publish import publish_bytes
from exdiff_cli.report.sidecar import QualityReport
from exdiff_cli.report.spectrogram import ROWS, TOP_HZ, spectrogram

FOLDER = "report-files"
RANGE_DB = 80.0
COLUMNS, MOST_ROWS = 640, 128
LEVELS = 32
"""Shades, 2.5 dB each: twice as many would add a quarter to the file."""

THREADS = 4
SECONDS_A_SAMPLE = 3e-8
"""What a sample of MP3 takes to be decoded and drawn on a slow core; one of WAV or FLAC a third of that."""

# Nine colours of matplotlib's magma, between which is interpolated: loading matplotlib takes longer than drawing.
_MAGMA = ("000004", "1c1044", "4f127b", "812581", "b5367a", "e55064", "fb8761", "fec287", "fcfdbf")
_OURS = re.compile(r"[0-9a-f]{32}\.png")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A picture to draw of a recording and its result, which hold ``samples`` together, over all channels."""

    before: Path
    after: Path
    target: Path
    samples: int


def picture_name(report: QualityReport) -> str:
    """The same as long as recording and result are."""
    return sha256(f"{report.input.sha256}{report.output.sha256}".encode()).hexdigest()[:32] + ".png"


def drawn_before(output: Path) -> set[str]:
    """Names of the pictures that an earlier report left in ``output``."""
    try:
        return {name for name in os.listdir(output / FOLDER) if _OURS.fullmatch(name)}
    except OSError:
        return set()


def remove_pictures(output: Path, names: Iterable[str]) -> None:
    """Take away what belongs to no result any more."""
    for name in names:
        with suppress(OSError):
            (output / FOLDER / name).unlink()


def draw_all(wanted: Iterable[Wanted], drawn: Callable[[], object] = lambda: None) -> set[str]:
    """Draw in several threads; returns the names of what was drawn. What cannot be is told in the log, and left."""
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), "pictures") as threads:
        names = set()
        for name in threads.map(_drawn, wanted):
            drawn()
            names.add(name)
        return names - {""}


def _drawn(wanted: Wanted) -> str:
    try:
        draw_pair(wanted.before, wanted.after, wanted.target)
    except (RecordingError, OSError, MemoryError) as error:
        log.info("no picture: %s", error)
        return ""
    return wanted.target.name


def within(wanted: Iterable[Wanted], seconds: float) -> list[Wanted]:
    """Those, in order, that can be drawn in so many seconds of processor time; long ones give way to short ones."""
    fitting = []
    for each in wanted:
        cost = each.samples * SECONDS_A_SAMPLE
        if cost <= seconds:
            fitting.append(each)
            seconds -= cost
    return fitting


def draw_pair(before: Path, after: Path, target: Path) -> None:
    """Write a PNG that holds nothing but both spectrograms, the recording's above its result's, on one scale.

    They reach up to 8 kHz, or to where neither holds anything more.

    Raises :class:`RecordingError` where one cannot be read or the picture cannot be written.
    """
    found = [spectrogram(path, COLUMNS) for path in (before, after)]
    known = round(ROWS * max(each.top_hz for each in found) / TOP_HZ)
    halves = [_thinned(each.decibels[:known]) for each in found]
    top = max(float(half.max()) for half in halves)
    width = max(half.shape[1] for half in halves)
    stacked = np.vstack([_widened(half, width)[::-1] for half in halves])
    shades = np.clip((stacked - (top - RANGE_DB)) / RANGE_DB, 0, 1) * (LEVELS - 1)
    image = Image.fromarray(shades.astype(np.uint8))
    image.putpalette(_palette())
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    publish_bytes(target, content.getvalue())


def _thinned(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    """No more rows than the page has room for."""
    fold = -(-len(decibels) // MOST_ROWS)
    kept = decibels[: len(decibels) // fold * fold]
    return kept.reshape(len(kept) // fold, fold, -1).max(axis=1)


def _widened(half: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Rates that differ may round to one column more."""
    return half[:, np.arange(width) * half.shape[1] // width]


def _palette() -> bytes:
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _MAGMA])
    places = np.linspace(0, len(_MAGMA) - 1, LEVELS)
    channels = [np.interp(places, range(len(_MAGMA)), anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()
