"""Honest figures of one whole run: real-time factor by stage, their ratios, and peak memory."""

from __future__ import annotations

import os
import resource
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
from rich.table import Table

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.bundle import Bundle, find_shipped_audio
from exdiff_cli.engine import enhance_all
from exdiff_cli.errors import ExdiffError
from exdiff_cli.settings import Resources, Settings

RATE = 16_000


def run_bench(bundle: Bundle, settings: Settings, resources: Resources, seconds: float) -> dict[str, object]:
    """Enhance a recording of ``seconds``, made for it, from file to file; seconds of work a second of audio by stage.

    ``peak_memory_mib`` is the process's, models and libraries included. Stages overlap in time, so that they may add
    up to more than the whole.
    """
    with TemporaryDirectory() as folder:
        source = Path(folder) / "bench.wav"
        _write_noisy_talk(source, seconds)
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


def _write_noisy_talk(path: Path, seconds: float) -> None:
    """The speech that ships, over and over, in noise: with what pauses it has, as the sampler is spared in these.

    Written clip by clip, so that the making of it does not count as memory of the run.
    """
    generator, left = np.random.default_rng(0), int(seconds * RATE)
    clips = cycle(sorted((find_shipped_audio() / "speech" / "valid").glob("*.opus")))
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        while left:
            talk = read_mono(next(clips))[:left]
            file.write(0.5 * talk + 0.01 * generator.standard_normal(len(talk)))
            left -= len(talk)


def bench_table(figures: dict[str, object]) -> Table:
    """The figures, one a row."""
    table = Table("figure", "value", title="exdiff bench")
    for name, value in figures.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for part, figure in rows:
            table.add_row(f"{name} {part}".strip().replace("_", " "), str(figure))
    return table
