"""Measures a bundle on pairs of noisy and clean recordings: what each part of Ex-Diff adds, at equal steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from exdiff_cli.audio.io import AUDIO_SUFFIXES, Samples, file_sha256
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.segments import OverlapAdd, Segmenter, SegmentPlan
from exdiff_cli.bundle import Bundle
from exdiff_cli.enhancer import Enhancer, Piece, segment_seed
from exdiff_cli.errors import DataError
from exdiff_cli.measures.dnsmos import dnsmos_reference
from exdiff_cli.measures.reference import compare
from exdiff_cli.settings import Settings

MEASURES = ("pesq", "estoi", "si_sdr", "sig", "bak", "ovrl")


@dataclass(frozen=True)
class Pair:
    """A noisy recording and its clean reference, mono at 16 kHz, of equal length; ``sha256`` is the noisy file's."""

    name: str
    noisy: Samples
    clean: Samples
    sha256: str


@dataclass(frozen=True)
class Scores:
    """Means over all pairs on which a measure is defined; None where it is on none."""

    system: str
    steps: int
    pesq: float | None
    estoi: float | None
    si_sdr: float | None
    sig: float | None
    bak: float | None
    ovrl: float | None

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def load_pairs(noisy: Path, clean: Path) -> list[Pair]:
    """Pair the files of two folders by name; :class:`DataError` names what has no partner or another length."""
    for folder in (noisy, clean):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; evaluate needs one of noisy and one of clean recordings")
    paths = sorted(path for path in noisy.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise DataError(f"{noisy}: holds no recordings; evaluate pairs files of both folders by name")
    return [_pair(path, clean / path.name) for path in paths]


def _pair(noisy: Path, clean: Path) -> Pair:
    if not clean.is_file():
        raise DataError(f"{clean}: is missing; every noisy recording needs a clean one of the same name")
    first, second = read_mono(noisy), read_mono(clean)
    if len(first) != len(second):
        raise DataError(f"{noisy}: has {len(first)} samples and its clean reference {len(second)}; they must be equal")
    return Pair(noisy.name, first, second, file_sha256(noisy))


def enhance_samples(samples: Samples, sha256: str, enhancer: Enhancer, batch: int = 4) -> Samples:
    """Enhance a mono signal ``(samples,)`` at the model's rate just as a run would."""
    settings = enhancer.settings
    plan = SegmentPlan(settings.segment, settings.overlap)
    segmenter, joiner = Segmenter(plan), OverlapAdd(plan)
    segments = [*segmenter.push(samples), *segmenter.flush()]
    joined = []
    for first in range(0, len(segments), batch):
        group = segments[first : first + batch]
        pieces = [Piece(s.samples, s.valid, segment_seed(sha256, 0, s.index, settings.seed)) for s in group]
        for segment, enhanced in zip(group, enhancer(pieces), strict=True):
            joined.append(joiner.push(replace(segment, samples=enhanced)))
    return np.concatenate(joined)


def evaluate(
    pairs: Sequence[Pair], bundle: Bundle, settings: Settings, steps: Iterable[int], device: torch.device
) -> Iterator[Scores]:
    """Score the noisy input, Extract alone, and for each number of steps Diffuse without latents and Ex-Diff."""
    yield _score("noisy", 0, [pair.noisy for pair in pairs], pairs)
    for system, count, use_latents in systems(steps):
        sampler = replace(settings.sampler, steps=count)
        enhancer = Enhancer(bundle, replace(settings, sampler=sampler, use_latents=use_latents), device)
        estimates = [enhance_samples(pair.noisy, pair.sha256, enhancer) for pair in pairs]
        yield _score(system, count, estimates, pairs)


def systems(steps: Iterable[int]) -> Iterator[tuple[str, int, bool]]:
    """Name, steps and use of latents of each system that is compared."""
    yield "extract", 0, False
    for count in steps:
        yield "diffuse, latents dropped", count, False
        yield "ex-diff", count, True


def _score(system: str, steps: int, estimates: Sequence[Samples], pairs: Sequence[Pair]) -> Scores:
    with ThreadPoolExecutor() as threads:
        rows = list(threads.map(measure, estimates, [pair.clean for pair in pairs]))
    means = {name: _mean([row[name] for row in rows]) for name in MEASURES}
    return Scores(system, steps, **means)


def measure(estimate: Samples, clean: Samples) -> dict[str, float | None]:
    """All measures of one estimate against its reference."""
    score = dnsmos_reference(estimate)
    opinion = asdict(score) if score else dict.fromkeys(("sig", "bak", "ovrl"))
    return {**asdict(compare(estimate, clean)), **opinion}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
