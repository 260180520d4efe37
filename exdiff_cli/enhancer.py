"""A batch of segments in, enhanced segments out: normalise, extract, diffuse, restore the level."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exdiff_cli.audio.spectral import LEVEL_RMS, analyse, synthesise
from exdiff_cli.bundle import Bundle
from exdiff_cli.diffuse.generate import generate, seeded_noise
from exdiff_cli.extract.separator import Extraction
from exdiff_cli.settings import Settings

Samples = NDArray[np.float32]

SILENCE_RMS = 1e-6
"""Below this, -120 dBFS, a segment is silence and is passed through: there is nothing to normalise by."""

SHORTEST, LENGTH_STEP = 32_768, 16_384
"""Samples: about the two seconds of training, and one second. A short recording need not cost a whole segment, and
there are few lengths, so that many recordings still share a batch."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One segment at the model's rate, ``samples`` ``(length,)`` of which ``valid`` count, and its noise seed."""

    samples: Samples
    valid: int
    seed: int


def segment_seed(content_sha256: str, channel: int, index: int, seed: int) -> int:
    """A 48-bit seed that depends on what is enhanced and on the run's ``seed``, never on the batch it is in."""
    described = f"{content_sha256}:{channel}:{index}:{seed}"
    return int.from_bytes(hashlib.sha256(described.encode()).digest()[:6], "big")


@dataclass
class Enhancer:
    """Both models on one device; ``seconds`` adds up wall time by stage."""

    bundle: Bundle
    settings: Settings
    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: {"extract": 0.0, "diffuse": 0.0})

    def __post_init__(self) -> None:
        self.bundle.to(self.device)

    def __call__(self, pieces: Sequence[Piece]) -> list[Samples]:
        """Enhance segments; each result depends on its own piece alone, and is padded as the piece is."""
        by_length: dict[int, list[int]] = {}
        for index, piece in enumerate(pieces):
            by_length.setdefault(_length(piece), []).append(index)
        results: dict[int, Samples] = {}
        for length, indices in by_length.items():
            results |= zip(indices, self._of_one_length([pieces[index] for index in indices], length), strict=True)
        return [_padded(results[index], piece) for index, piece in enumerate(pieces)]

    @torch.inference_mode()
    def _of_one_length(self, pieces: Sequence[Piece], length: int) -> list[Samples]:
        mixture = torch.from_numpy(np.stack([_filled(piece, length) for piece in pieces]))
        levels = torch.tensor([_rms(piece.samples[: piece.valid]) for piece in pieces])[:, None]
        gain = LEVEL_RMS / levels.clamp_min(SILENCE_RMS)
        enhanced = self._enhance((mixture * gain).to(self.device), [piece.seed for piece in pieces])
        restored = torch.where(levels < SILENCE_RMS, mixture, enhanced.cpu() / gain)
        return list(restored.numpy())

    def _enhance(self, mixture: Tensor, seeds: list[int]) -> Tensor:
        spectral = self.bundle.spectral
        spectrum = analyse(mixture, spectral)
        # TensorFloat-32 would let a result on a GPU depend on its batch, by up to a thousandth.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            with self._timing("extract"):
                extraction = self._extract(spectrum)
            estimate = extraction.estimate
            if self.settings.sampler.steps > 0:
                with self._timing("diffuse"):
                    estimate = self._diffuse(spectrum, extraction, seeds)
        return synthesise(estimate, mixture.shape[-1], spectral)

    def _extract(self, spectrum: Tensor) -> Extraction:
        query = self.bundle.separator.queries.index(self.settings.query)
        return self.bundle.separator(spectrum, torch.full((len(spectrum),), query, device=self.device))

    def _diffuse(self, spectrum: Tensor, extraction: Extraction, seeds: list[int]) -> Tensor:
        noise = seeded_noise(seeds, (spectrum.shape[1], spectrum.shape[2]), self.device)
        keep = torch.full((len(spectrum),), self.settings.use_latents, device=self.device)
        return generate(self.bundle.score_net, spectrum, extraction, self.settings.sampler, noise, keep)

    @contextmanager
    def _timing(self, stage: str) -> Iterator[None]:
        began = perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds[stage] += perf_counter() - began


def _length(piece: Piece) -> int:
    """How many samples are computed for a piece: all that are valid, in whole steps, but no fewer than in training."""
    return min(len(piece.samples), max(SHORTEST, -(-piece.valid // LENGTH_STEP) * LENGTH_STEP))


def _filled(piece: Piece, length: int) -> Samples:
    """Repeat what a short piece holds: the models never met digital silence, and it would shift their norms."""
    return np.resize(piece.samples[: piece.valid], length)


def _padded(samples: Samples, piece: Piece) -> Samples:
    return np.pad(samples, (0, len(piece.samples) - len(samples)))


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0
