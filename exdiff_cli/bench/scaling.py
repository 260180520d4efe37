"""How the speed changes with the number of threads and the size of batches."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from exdiff_cli.bench.run import run_bench
from exdiff_cli.bundle import Bundle
from exdiff_cli.placement import torch_threads
from exdiff_cli.settings import Resources, Settings

BATCHES = (1, 2, 4, 8)
MOST_SECONDS = 64.0
"""Of the recording that is made for it: about as many segments as the largest of these batches."""

Figures = dict[str, dict[str, float]]


def measure_scaling(bundle: Bundle, settings: Settings, resources: Resources, seconds: float) -> dict[str, object]:
    """Real-time factors of a short recording by threads and by batch, and their ratios to that with the run's own."""
    seconds, threads = min(seconds, MOST_SECONDS), torch.get_num_threads()

    def factor(count: int, batch: int) -> float:
        with torch_threads(count):
            suited = Resources.on(resources.device, batch, count)
            found = run_bench(bundle, settings, suited, seconds)["real_time_factor"]
        assert isinstance(found, float)
        return found

    own = factor(threads, resources.batch)
    return {
        "audio_seconds": seconds,
        "real_time_factor": own,
        "threads": _series(thread_counts(), threads, own, lambda count: factor(count, resources.batch)),
        "batch": _series(BATCHES, resources.batch, own, lambda batch: factor(threads, batch)),
    }


def _series(counts: tuple[int, ...], own_count: int, own: float, factor: Callable[[int], float]) -> Figures:
    """By count, what was measured; the run's own is not measured twice."""
    found = {count: own if count == own_count else factor(count) for count in sorted({*counts, own_count})}
    return {str(count): {"real_time_factor": value, "ratio": round(value / own, 3)} for count, value in found.items()}


def thread_counts() -> tuple[int, ...]:
    """1, 2, 4 and so on, and as many as there are cores for the process."""
    cores = len(os.sched_getaffinity(0))
    return (*(1 << power for power in range(cores.bit_length()) if 1 << power < cores), cores)
