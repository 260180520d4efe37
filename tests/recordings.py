"""Recordings of every kind for tests, made of one noisy sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from exdiff_cli.audio.io import probe, read_windows
from exdiff_cli.audio.recording import Samples

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


def encode(
    path: Path, muxer: str, codec: str, rate: int, layout: str, samples: Samples, options: dict[str, str] | None = None
) -> Path:
    """A file as others write it through FFmpeg: by its defaults, but for the bit rate and what ``options`` say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=muxer, options=options) as container:
        container.metadata["title"] = "Schicht 3"
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 12_200 if "amr" in codec else 64_000 * len(samples)
        to_codec = av.AudioResampler(stream.format, layout, rate)
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for given in (frame, None):
            for converted in to_codec.resample(given):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path


def samples_of(path: Path) -> Samples:
    """A whole recording, ``(channels, frames)``."""
    return np.concatenate(list(read_windows(probe(path), 1 << 20)), axis=1)


def cut_off(path: Path, share: float) -> Path:
    """Leave ``share`` of the bytes."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path
