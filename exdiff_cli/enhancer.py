"""A batch of segments in, enhanced segments out: normalise, extract, diffuse where there is speech, guard."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exdiff_cli.audio.spectral import LEVEL_RMS, analyse, frame_count, synthesise
from exdiff_cli.bundle import Bundle
from exdiff_cli.diffuse.generate import generate, seeded_noise
from exdiff_cli.diffuse.sampler import Noise
from exdiff_cli.extract.separator import Extraction, cut
from exdiff_cli.guard import Risk, guarded, risks_of, strangeness
from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import SILENCE_RMS, levelled_activity, rms
from exdiff_cli.memory import is_out_of_memory
from exdiff_cli.settings import Precision, Settings
from exdiff_cli.spoken import Stretch, fade, spoken_stretch

log = logging.getLogger(__name__)

Samples = NDArray[np.float32]

DEVICE_STAGES = ("transform", "extract", "diffuse")
MODEL_STAGES = ("speech", *DEVICE_STAGES, "guard")

LENGTH_STEP = SHORTEST = 16_128
"""Samples, about a second: with the frame at their end 64 frames of the ``small`` transform, which is a window of
attention. A short recording need not cost a whole segment, and there are few lengths, so that many recordings still
share a batch. Cuts of a second of 120 validation mixtures have PESQ 2.52, as good as repeated to the two seconds of
training."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One segment at the model's rate, ``samples`` ``(length,)`` of which ``valid`` count, and its noise seed."""

    samples: Samples
    valid: int
    seed: int


@dataclass(frozen=True, eq=False)
class Enhanced:
    """What became of a piece, as long as it, and where the guard did not trust the sampler.

    ``unsure`` has how far draws are apart in each frame of speech, in decibels; nothing where there is one draw.
    ``speech`` has the detector's probabilities of what went in, nothing where no sampler ran.
    """

    samples: Samples
    risks: tuple[Risk, ...] = ()
    unsure: Floats = field(default_factory=lambda: np.zeros(0))
    speech: Floats = field(default_factory=lambda: np.zeros(0))


def segment_seed(content_sha256: str, channel: int, index: int, seed: int) -> int:
    """A 48-bit seed that depends on what is enhanced and on the run's ``seed``, never on the batch it is in."""
    described = f"{content_sha256}:{channel}:{index}:{seed}"
    return _seed_of(described)


def seed_of_draw(seed: int, draw: int) -> int:
    """The seed of another draw of a segment; the first one is the segment's own."""
    return _seed_of(f"{seed}:{draw}") if draw else seed


def _seed_of(described: str) -> int:
    return int.from_bytes(hashlib.sha256(described.encode()).digest()[:6], "big")


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows of a batch with as long a stretch each: its frames, their weights, and the noise of every draw."""

    rows: list[tuple[int, slice]]
    noises: list[Noise]
    fades: Tensor


@dataclass
class Enhancer:
    """Both models on one device; ``seconds`` adds up wall time by stage.

    ``turn`` is held while the device is used, by the enhancers of all threads that share it.
    """

    bundle: Bundle
    settings: Settings
    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MODEL_STAGES, 0.0))
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    _marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list, init=False, repr=False)
    """Of stages on a GPU: when it began and ended each, to be read once it is done with the batch."""

    def __post_init__(self) -> None:
        self.bundle = self.bundle.ready_on(self.device, self.settings.precision)
        # TensorFloat-32 would let a result on a GPU depend on its batch, by up to a thousandth. For the whole process:
        # another thread may compute an estimate alone meanwhile.
        torch.backends.cudnn.allow_tf32 = False

    def sharing(self) -> Enhancer:
        """Another one with the same models, for another thread: it has the device in turn with this one."""
        return Enhancer(self.bundle, self.settings, self.device, turn=self.turn)

    def __call__(self, pieces: Sequence[Piece]) -> list[Samples]:
        """Enhance segments; each result depends on its own piece alone, and is padded as the piece is."""
        return [enhanced.samples for enhanced in self.enhance(pieces)]

    def enhance(self, pieces: Sequence[Piece]) -> list[Enhanced]:
        """The same, with what the guard found."""
        by_length: dict[int, list[int]] = {}
        for index, piece in enumerate(pieces):
            by_length.setdefault(_length(piece), []).append(index)
        results: dict[int, Enhanced] = {}
        for length, indices in by_length.items():
            results |= zip(indices, self._of_one_length([pieces[index] for index in indices], length), strict=True)
        return [_padded(results[index], piece) for index, piece in enumerate(pieces)]

    @torch.inference_mode()
    def _of_one_length(self, pieces: Sequence[Piece], length: int) -> list[Enhanced]:
        mixture = torch.from_numpy(np.stack([_filled(piece, length) for piece in pieces]))
        levels = torch.tensor([rms(piece.samples[: piece.valid]) for piece in pieces])[:, None]
        gain = LEVEL_RMS / levels.clamp_min(SILENCE_RMS)
        with self._timing("speech"):
            speech = [self.speech(piece) for piece in pieces]
        stretches = [self._stretch(probabilities, length) for probabilities in speech]
        heard = self._pinned(mixture * gain)
        spoken = self._groups([piece.seed for piece in pieces], stretches, length)
        with self.turn:
            signals = self._on_device(heard, spoken)
        silent = levels < SILENCE_RMS
        made = [torch.where(silent, mixture, each / gain).numpy() for each in signals]
        with self._timing("guard"):
            return list(map(self._guard, pieces, zip(*made, strict=True), speech))

    def _on_device(self, heard: Tensor, spoken: list[_Group]) -> Tensor:
        """Signals ``(1 + draws, batch, samples)``, from and to the CPU: one copy in, one back."""
        try:
            return self._there_and_back(heard, spoken)
        except (MemoryError, RuntimeError) as error:
            if not (is_out_of_memory(error) and self.bundle.release_replays()):
                raise
        log.debug("%s: too little memory for CUDA graphs beside a batch", self.device)
        return self._there_and_back(heard, spoken)

    def _there_and_back(self, heard: Tensor, spoken: list[_Group]) -> Tensor:
        self._marks.clear()
        made = torch.stack(self._enhance(heard.to(self.device, non_blocking=True), spoken))
        if self.device.type == "cpu":
            return made
        # Here the device is waited for; before, only by a sampler that asks whether it may stop, and by torch's istft.
        back = torch.empty(made.shape, dtype=made.dtype, pin_memory=True).copy_(made, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        for stage, began, ended in self._marks:
            self.seconds[stage] += began.elapsed_time(ended) / 1000
        return back

    def _pinned(self, tensor: Tensor) -> Tensor:
        """Where a GPU can copy it from by itself, so that what follows need not wait."""
        return tensor if self.device.type == "cpu" else tensor.pin_memory()

    def speech(self, piece: Piece) -> Floats:
        """The detector's probabilities of what is valid, a frame each; none where no sampler runs."""
        if not self.settings.sampler.steps:
            return np.zeros(0, np.float32)
        return levelled_activity(piece.samples[: piece.valid])

    def _stretch(self, speech: Floats, length: int) -> Stretch | None:
        """What of a piece the sampler is for."""
        if not (self.settings.skip_silence and self.settings.sampler.steps):
            return Stretch(0, length)
        return spoken_stretch(speech, length, LENGTH_STEP, SHORTEST)

    def _guard(self, piece: Piece, signals: tuple[Samples, ...], speech: Floats) -> Enhanced:
        """What becomes of a piece: of Extract's estimate, and of the samples if there are any."""
        mixture = piece.samples[: piece.valid]
        estimate, *samples = (signal[: piece.valid] for signal in signals)
        if not samples or not piece.valid:
            return Enhanced(self._mixed(estimate, mixture))
        strange = strangeness(mixture, estimate, samples[0], speech, samples[1:])
        risks = risks_of(strange, piece.valid)
        made = guarded(mixture, estimate, samples[0], risks, self.settings.on_risk)
        return Enhanced(self._mixed(made, mixture), risks, strange.unsure[~np.isnan(strange.unsure)], speech)

    def _mixed(self, made: Samples, mixture: Samples) -> Samples:
        strength = np.float32(self.settings.strength)
        return strength * made + (1 - strength) * mixture

    def _groups(self, seeds: list[int], stretches: list[Stretch | None], length: int) -> list[_Group]:
        """What the sampler is for of segments of ``length`` samples; stretches of one length go together."""
        if not self.settings.sampler.steps:
            return []
        spectral = self.bundle.spectral
        by_length: dict[int, list[tuple[int, slice]]] = {}
        for row, stretch in enumerate(stretches):
            if stretch is not None:
                part = stretch.frames(spectral.hop)
                by_length.setdefault(part.stop - part.start, []).append((row, part))
        return [self._group(rows, seeds, frame_count(length, spectral)) for rows in by_length.values()]

    def _group(self, rows: list[tuple[int, slice]], seeds: list[int], frames: int) -> _Group:
        part = rows[0][1]
        shape = self.bundle.spectral.bins, len(range(*part.indices(frames)))
        noises = [
            seeded_noise([seed_of_draw(seeds[row], draw) for row, _ in rows], shape, self.device, is_next=not draw)
            for draw in range(self.settings.draws)
        ]
        return _Group(rows, noises, self._pinned(torch.stack([fade(each, frames) for _, each in rows])))

    def _enhance(self, mixture: Tensor, spoken: list[_Group]) -> list[Tensor]:
        """Extract's estimate, and what the sampler made of it in each draw, none without steps."""
        spectral = self.bundle.spectral
        with self._timing("transform"):
            spectrum = analyse(mixture, spectral)
        with self._timing("extract"), self._autocast():
            extraction = self._extract(spectrum)
        found = [extraction.estimate]
        for draw in range(self.settings.draws if self.settings.sampler.steps else 0):
            with self._timing("diffuse"), self._autocast():
                found.append(self._diffuse(spectrum, extraction, spoken, draw))
        with self._timing("transform"):
            return [synthesise(each, mixture.shape[-1], spectral) for each in found]

    def _extract(self, spectrum: Tensor) -> Extraction:
        query = self.bundle.separator.queries.index(self.settings.query)
        return self.bundle.separator(spectrum, torch.full((len(spectrum),), query, device=self.device))

    def _diffuse(self, spectrum: Tensor, extraction: Extraction, spoken: list[_Group], draw: int) -> Tensor:
        """Extract's estimate with a sample in each row's stretch."""
        result = extraction.estimate.clone()
        for group in spoken:
            found = extraction.cut(group.rows)
            sample = self._sample(cut(spectrum, group.rows), found, group.noises[draw])
            weight = group.fades.to(self.device, non_blocking=True)[:, None]
            made = found.estimate + weight * (sample - found.estimate)
            for (row, part), each in zip(group.rows, made, strict=True):
                result[row, :, part] = each
        return result

    def _sample(self, spectrum: Tensor, extraction: Extraction, noise: Noise) -> Tensor:
        keep = torch.full((len(spectrum),), self.settings.use_latents, device=self.device)
        return generate(self.bundle.score_net, spectrum, extraction, self.settings.sampler, noise, keep)

    def _autocast(self) -> AbstractContextManager[object]:
        """The networks compute as the settings say."""
        if self.settings.precision is not Precision.BFLOAT16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @contextmanager
    def _timing(self, stage: str) -> Iterator[None]:
        """Add what the block takes: of the processor, or of the GPU, which is not waited for."""
        if self.device.type == "cuda" and stage in DEVICE_STAGES:
            stream = torch.cuda.current_stream(self.device)
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            began.record(stream)
            yield
            ended.record(stream)
            self._marks.append((stage, began, ended))
            return
        start = perf_counter()
        yield
        self.seconds[stage] += perf_counter() - start


def _length(piece: Piece) -> int:
    """How many samples are computed for a piece: all that are valid, in whole steps."""
    return min(len(piece.samples), max(SHORTEST, -(-piece.valid // LENGTH_STEP) * LENGTH_STEP))


def _filled(piece: Piece, length: int) -> Samples:
    """Repeat what a short piece holds: the models never met digital silence, and it would shift their norms."""
    return np.resize(piece.samples[: piece.valid], length)


def _padded(enhanced: Enhanced, piece: Piece) -> Enhanced:
    samples = np.pad(enhanced.samples, (0, len(piece.samples) - len(enhanced.samples)))
    return replace(enhanced, samples=samples)
