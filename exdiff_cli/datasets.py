"""Pairs of noisy and clean recordings, in the layouts that evaluation sets come in.

- two folders whose files are paired by name, at any depth, or two files;
- one folder with ``noisy`` and ``clean`` in it, as `exdiff train validation` writes, perhaps with ``scenes.csv``;
- VoiceBank-DEMAND: ``noisy_testset_wav`` and ``clean_testset_wav``, perhaps with ``log_testset.txt``;
- MUSDB18 as WAV: a folder a track with ``mixture.wav`` and ``vocals.wav``, below ``test`` where there is one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exdiff_cli.audio.io import AUDIO_SUFFIXES, file_sha256
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.errors import DataError

FOLDERS = (("noisy", "clean"), ("noisy_testset_wav", "clean_testset_wav"))
SCENES_FILE = "scenes.csv"
DEMAND_LOG = "log_testset.txt"
SNR_EDGES = (-2.5, 2.5, 7.5, 12.5, 17.5)
"""Bounds, in dB, of the bands that measured signal-to-noise ratios are told apart by."""


@dataclass(frozen=True)
class Signals:
    """Mono ``(samples,)`` at 16 kHz, of equal length; ``sha256`` is the noisy file's."""

    noisy: Samples
    clean: Samples
    sha256: str


@dataclass(frozen=True)
class Pair:
    """A noisy recording and its clean reference; ``tags`` say what is known of them, such as ``noise``."""

    name: str
    noisy: Path
    clean: Path
    tags: dict[str, str] = field(default_factory=dict)

    def read(self) -> Signals:
        """Decode both; :class:`DataError` where their lengths differ."""
        noisy, clean = read_mono(self.noisy), read_mono(self.clean)
        if len(noisy) != len(clean):
            raise DataError(
                f"{self.noisy}: has {len(noisy)} samples and its clean reference {len(clean)}; they must be equal"
            )
        return Signals(noisy, clean, file_sha256(self.noisy))


def find_pairs(noisy: Path, clean: Path | None = None) -> list[Pair]:
    """Pair up two folders or files, or one folder that holds a set; :class:`DataError` says what is missing."""
    if clean is not None and noisy.is_file() and clean.is_file():
        return [Pair(noisy.name, noisy, clean)]
    if clean is not None:
        return _by_name(noisy, clean, {})
    if not noisy.is_dir():
        raise DataError(f"{noisy}: no such folder; evaluate needs noisy recordings and clean ones")
    for first, second in FOLDERS:
        if (noisy / first).is_dir() and (noisy / second).is_dir():
            return _by_name(noisy / first, noisy / second, _known_tags(noisy))
    tracks = list(_tracks(noisy / "test" if (noisy / "test").is_dir() else noisy))
    if tracks:
        return tracks
    raise DataError(
        f"{noisy}: is no set that evaluate knows; give two folders, or one with noisy and clean, "
        "noisy_testset_wav and clean_testset_wav, or tracks of mixture.wav and vocals.wav"
    )


def _by_name(noisy: Path, clean: Path, tags: dict[str, dict[str, str]]) -> list[Pair]:
    for folder in (noisy, clean):
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder; evaluate needs noisy and clean recordings: two folders, or files"
            )
    names = _recordings(noisy)
    if not names:
        raise DataError(f"{noisy}: holds no recordings; evaluate pairs files of both folders by name")
    pairs = [Pair(name.as_posix(), noisy / name, clean / name, tags.get(name.stem, {})) for name in names]
    for pair in pairs:
        if not pair.clean.is_file():
            raise DataError(f"{pair.clean}: is missing; every noisy recording needs a clean one of the same name")
    return pairs


def _recordings(folder: Path) -> list[Path]:
    """Sorted names below ``folder``; hidden ones, as what other systems keep beside recordings, are left out."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    audio = (name for name in names if name.suffix.lower() in AUDIO_SUFFIXES)
    return sorted(name for name in audio if not any(part.startswith(".") for part in name.parts))


def _tracks(root: Path) -> Iterator[Pair]:
    for mixture in sorted(root.glob("*/mixture.wav")):
        vocals = mixture.with_name("vocals.wav")
        if not vocals.is_file():
            raise DataError(f"{vocals}: is missing; every track needs its vocals")
        yield Pair(mixture.parent.name, mixture, vocals)


def _known_tags(root: Path) -> dict[str, dict[str, str]]:
    """What a set's own tables say of each recording, by its name without suffix."""
    scenes, log = root / SCENES_FILE, root / DEMAND_LOG
    if scenes.is_file():
        with scenes.open(newline="") as file:
            return {Path(row.pop("name")).stem: row for row in csv.DictReader(file) if "name" in row}
    if log.is_file():
        rows = [line.split() for line in log.read_text().splitlines()]
        return {row[0]: {"noise": row[1], "snr": row[2]} for row in rows if len(row) == 3}
    return {}


def snr_band(noisy: Samples, clean: Samples) -> str:
    """The band of a pair's own signal-to-noise ratio, for sets that do not tell it."""
    noise = np.square(noisy - clean, dtype=np.float64).sum()
    speech = np.square(clean, dtype=np.float64).sum()
    if not (noise and speech):
        return "none"
    place = int(np.searchsorted(SNR_EDGES, 10 * np.log10(speech / noise)))
    return str(round(SNR_EDGES[0] - 2.5 + 5 * place))
