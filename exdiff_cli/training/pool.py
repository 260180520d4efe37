"""Training audio in memory: every clip of a data directory, decoded once, as one long 16-bit tensor a part.

A data directory holds ``speech/train``, ``speech/valid`` and ``noise``, each with audio files at any depth.
Clips of speech lie one behind the other with a pause between them, so that a window read at any position is a
piece of continuous talk whatever the length of its clips.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from exdiff_cli.errors import DataError

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
PAUSE_SECONDS = (0.1, 0.5)
FADE_SECONDS = 0.01
HELD_OUT_EVERY = 6


@dataclass(frozen=True)
class Pool:
    """Clips end to end in ``samples``, int16 ``(total,)``; clip ``names[i]`` is ``lengths[i]`` at ``starts[i]``."""

    samples: Tensor
    starts: Tensor
    lengths: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device) -> Pool:
        return Pool(self.samples.to(device), self.starts.to(device), self.lengths.to(device), self.names)

    def clips(self) -> Iterator[Pool]:
        """Each clip as a pool of its own."""
        for i, name in enumerate(self.names):
            yield Pool(self.samples, self.starts[i : i + 1], self.lengths[i : i + 1], (name,))


@dataclass(frozen=True)
class TrainingAudio:
    """What one model learns from, and the recordings held out to judge it on."""

    speech: Pool
    noise: Pool
    valid_speech: Pool
    valid_noise: Pool

    def to(self, device: torch.device) -> TrainingAudio:
        return TrainingAudio(
            *(part.to(device) for part in (self.speech, self.noise, self.valid_speech, self.valid_noise))
        )


def find_audio(folder: Path) -> list[Path]:
    """Sorted audio files below ``folder``; :class:`DataError` if there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a data directory needs speech/train, speech/valid and noise")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no audio; put {', '.join(sorted(SUFFIXES))} files there")
    return found


def held_out(paths: Sequence[Path], remainder: int) -> list[Path]:
    """Every sixth recording from ``remainder`` on: a split that stays spread over all kinds of noise."""
    return [path for position, path in enumerate(paths) if position % HELD_OUT_EVERY == remainder]


def decode(path: Path, sample_rate: int) -> np.ndarray:
    """One clip as mono int16 ``(samples,)`` at ``sample_rate``."""
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); remove or replace it") from error
    if not len(audio):
        raise DataError(f"{path}: holds no samples; remove or replace it")
    mono = torch.from_numpy(audio.mean(axis=1))
    if rate != sample_rate:
        mono = resample(mono, rate, sample_rate)
    return (mono.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()


def _faded(clip: np.ndarray, fade: int) -> np.ndarray:
    fade = min(fade, len(clip) // 2)
    ramp = np.linspace(0, 1, fade, endpoint=False)
    shaped = clip.astype(np.float32)
    shaped[:fade] *= ramp
    shaped[len(shaped) - fade :] *= ramp[::-1]
    return shaped.astype(np.int16)


def lay_out(clips: Iterable[np.ndarray], names: tuple[str, ...], pauses: bool, sample_rate: int = 16_000) -> Pool:
    """Int16 clips ``(samples,)`` end to end; with ``pauses``, each is followed by a short random silence."""
    generator = random.Random(0)
    pieces: list[np.ndarray] = []
    starts: list[int] = []
    lengths: list[int] = []
    position = 0
    for clip in clips:
        pause = int(generator.uniform(*PAUSE_SECONDS) * sample_rate) if pauses else 0
        starts.append(position)
        lengths.append(len(clip))
        pieces += [_faded(clip, int(FADE_SECONDS * sample_rate)), np.zeros(pause, np.int16)]
        position += len(clip) + pause
    return Pool(torch.from_numpy(np.concatenate(pieces)), torch.tensor(starts), torch.tensor(lengths), names)


def joined(pools: Sequence[Pool]) -> Pool:
    """The clips of all, one pool after the other; a pool that is named twice counts twice."""
    offsets = np.cumsum([0, *(len(pool.samples) for pool in pools[:-1])]).tolist()
    return Pool(
        torch.cat([pool.samples for pool in pools]),
        torch.cat([pool.starts + offset for pool, offset in zip(pools, offsets, strict=True)]),
        torch.cat([pool.lengths for pool in pools]),
        tuple(name for pool in pools for name in pool.names),
    )


def load_pool(paths: Sequence[Path], pauses: bool, sample_rate: int = 16_000) -> Pool:
    """Decode files into a pool; with ``pauses``, each clip is followed by a short random silence."""
    with ThreadPoolExecutor() as threads:
        clips = threads.map(lambda path: decode(path, sample_rate), paths)
        return lay_out(clips, tuple(path.stem for path in paths), pauses, sample_rate)


def _shuffled(paths: Sequence[Path]) -> list[Path]:
    """A fixed order that mixes clips within their folder, so that neighbours differ in speaker and text."""
    return sorted(paths, key=lambda path: (path.parent.as_posix(), zlib.crc32(path.name.encode())))


def load_training_audio(data: Path, for_diffuse: bool) -> TrainingAudio:
    """Load ``data`` for one of the two models.

    Noise is split by recording: one sixth is for validation alone, and one sixth is kept from Extract, so
    that Diffuse also learns from estimates and latents of noises that Extract never saw; likewise an eighth
    of the speech.
    """
    noises = find_audio(data / "noise")
    validation = held_out(noises, 3) or noises[-1:]
    training = [path for path in noises if path not in validation] or noises
    speech = _shuffled(find_audio(data / "speech" / "train"))
    if not for_diffuse:
        training = [path for path in training if path not in held_out(noises, 1)] or training
        speech = [path for path in speech if zlib.crc32(path.stem.encode()) % 8] or speech
    return TrainingAudio(
        speech=load_pool(speech, pauses=True),
        noise=load_pool(training, pauses=False),
        valid_speech=load_pool(_shuffled(find_audio(data / "speech" / "valid")), pauses=True),
        valid_noise=load_pool(validation, pauses=False),
    )
