"""Honest figures of one whole run: real-time factor by stage, their ratios, and peak memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
from rich.table import Table

from exdiff_cli.bundle import Bundle
from exdiff_cli.engine import enhance_all
from exdiff_cli.errors import ExdiffError
from exdiff_cli.settings import Resources, Settings

RATE = 16_000


def run_bench(bundle: Bundle, settings: Settings, resources: Resources, seconds: float) -> dict[str, object]:
    """Enhance a generated recording of ``seconds`` from file to file; seconds of work a second of audio by stage.

    ``peak_memory_mib`` is the process's, models and libraries included. Stages overlap in time, so that they may add
    up to more than the whole.
    """
    with TemporaryDirectory() as folder:
        source = Path(folder) / "bench.wav"
        _write_modulated_noise(source, seconds)
        result = enhance_all([source], Path(folder) / "out", bundle, settings, resources)
    if result.failed:
        raise ExdiffError(str(result.failed[0].error))
    report = result.done[0].report
    assert report is not None
    stages = {stage: round(spent / seconds, 4) for stage, spent in report.seconds.items()}
    return {
        "bundle": bundle.name,
        "device": resources.device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "batch": resources.batch,
        "steps": settings.sampler.steps,
        "audio_seconds": seconds,
        "real_time_factor": round(result.seconds / seconds, 4),
        "by_stage": stages,
        "diffuse_to_extract": round(report.seconds["diffuse"] / max(report.seconds["extract"], 1e-4), 2),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _write_modulated_noise(path: Path, seconds: float, block: int = 10 * RATE) -> None:
    """Noise in syllables: the models' cost does not depend on what they hear, but silence would be skipped.

    Written in blocks, so that the making of it does not count as memory of the run.
    """
    generator = np.random.default_rng(0)
    samples = int(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for start in range(0, samples, block):
            time = np.arange(start, min(start + block, samples)) / RATE
            file.write(0.05 * generator.standard_normal(len(time)) * (1 + np.sin(2 * np.pi * 4 * time)))


def bench_table(figures: dict[str, object]) -> Table:
    """The figures, one a row."""
    table = Table("figure", "value", title="exdiff bench")
    for name, value in figures.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for part, figure in rows:
            table.add_row(f"{name} {part}".strip().replace("_", " "), str(figure))
    return table
