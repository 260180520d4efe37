"""Measures a bundle on pairs of noisy and clean recordings: what each part of Ex-Diff adds, at equal steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.segments import OverlapAdd, Segmenter, SegmentPlan
from exdiff_cli.bundle import Bundle
from exdiff_cli.datasets import Pair, Signals, snr_band
from exdiff_cli.enhancer import Enhancer, Piece, segment_seed
from exdiff_cli.measures.against_clean import GROUPS, Trio, measure, measure_names
from exdiff_cli.scores import Row, Scores, System
from exdiff_cli.settings import Settings

NOISY = System("noisy")
EXTRACT = System("extract")


@dataclass(frozen=True)
class Comparison:
    """What to compare: numbers of steps, groups of measures, whether to drop the latents too, and other bundles."""

    steps: Sequence[int]
    groups: Sequence[str] = tuple(GROUPS)
    without_latents: bool = True
    others: Sequence[Bundle] = ()

    def systems(self, bundle: Bundle, settings: Settings) -> Iterator[tuple[System, Bundle, Settings]]:
        """Each system that enhances, and what it takes."""
        yield EXTRACT, bundle, with_steps(settings, 0)
        for count in self.steps:
            if self.without_latents:
                without = replace(with_steps(settings, count), use_latents=False)
                yield System("diffuse, latents dropped", count), bundle, without
            yield System("ex-diff", count), bundle, with_steps(settings, count)
        for other in self.others:
            theirs = replace(settings, sampler=other.sampler)
            if not same_weights(other.separator, bundle.separator):
                yield System(f"extract of {other.name}"), other, with_steps(theirs, 0)
            for count in self.steps:
                yield System(other.name, count), other, with_steps(theirs, count)


def with_steps(settings: Settings, steps: int) -> Settings:
    """The same settings but for the number of steps."""
    return replace(settings, sampler=replace(settings.sampler, steps=steps))


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks are the same to the bit."""
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(weight, other[name]) for name, weight in one.items())


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
    pairs: Iterable[Pair],
    bundle: Bundle,
    settings: Settings,
    comparison: Comparison,
    device: torch.device,
    done: Callable[[], object] = lambda: None,
) -> Scores:
    """Score the noisy input and every system on every pair; ``done`` is called after each pair.

    One pair at a time is held in memory; its measures are taken while the next system enhances.
    """
    systems = list(comparison.systems(bundle, settings))
    # Systems of one bundle share what runs its models: on a GPU its CUDA graphs take memory.
    bundles = {id(of): of for _, of, _ in systems}
    ready = {key: of.ready_on(device, settings.precision) for key, of in bundles.items()}
    enhancers = {system: Enhancer(ready[id(of)], chosen, device) for system, of, chosen in systems}
    rows: list[Row] = []
    with ThreadPoolExecutor() as threads:
        for pair in pairs:
            signals = pair.read()
            tags = {"snr": snr_band(signals.noisy, signals.clean), **pair.tags}

            def score(estimate: Samples, signals: Signals = signals) -> Future[dict[str, float | None]]:
                return threads.submit(measure, Trio(estimate, signals.clean, signals.noisy), comparison.groups)

            found = {NOISY: score(signals.noisy)}
            for system, enhancer in enhancers.items():
                found[system] = score(enhance_samples(signals.noisy, signals.sha256, enhancer))
            rows += [Row(pair.name, tags, system, future.result()) for system, future in found.items()]
            done()
    return Scores(rows, [NOISY, *enhancers], measure_names(comparison.groups))
