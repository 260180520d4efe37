"""Recordings of every kind for tests, made of one noisy sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from exdiff_cli.audio.io import Samples, probe, read_windows

DATA = Path(__file__).parent / "data"


def talk(seconds: float, rate: int = 16_000, channels: int = 1) -> Samples:
    """``(channels, frames)`` of the noisy sentence, repeated, at whatever pitch; channels differ."""
    sentence = soundfile.read(DATA / "noisy.wav", dtype="float32")[0]
    rows = [np.resize(np.roll(sentence, 5_000 * channel), int(seconds * rate)) for channel in range(channels)]
    return np.stack(rows)


def store(
    path: Path,
    seconds: float = 2.3,
    rate: int = 16_000,
    channels: int = 1,
    subtype: str = "PCM_16",
    container: str | None = None,
    gain: float = 1.0,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, gain * talk(seconds, rate, channels).T, rate, subtype, format=container)
    return path


def samples_of(path: Path) -> Samples:
    """A whole recording, ``(channels, frames)``."""
    return np.concatenate(list(read_windows(probe(path), 1 << 20)), axis=1)


def cut_off(path: Path, share: float) -> Path:
    """Leave ``share`` of the bytes."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path
