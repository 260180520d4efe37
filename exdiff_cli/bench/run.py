"""One whole run, measured: wall time, processor time and memory, by stage and a second of audio."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from exdiff_cli.bench.archive import MadeArchive
from exdiff_cli.bench.work import counted_frames
from exdiff_cli.bundle import Bundle
from exdiff_cli.cuda_graph import graphs_wanted
from exdiff_cli.engine import RunResult, enhance_all
from exdiff_cli.errors import ExdiffError, ExitCode
from exdiff_cli.report.run_report import SHARE_FOR_PICTURES, ReportOptions, write_report
from exdiff_cli.settings import Resources, Settings

log = logging.getLogger(__name__)

NETWORK_STAGES = ("extract", "diffuse")
MEBIBYTE = 1 << 20


class NothingDoneError(ExdiffError):
    """Every recording failed, so that there is nothing to measure; says why the first did."""

    exit_code = ExitCode.SOME_FAILED


@dataclass(frozen=True)
class Run:
    """What a run took, in seconds; ``frames`` are the spectral frames that went through each network.

    ``load_before`` is how many processes wanted a core, on average over the minute before.
    """

    result: RunResult
    wall: float
    cpu: float
    stages: dict[str, float]
    frames: dict[str, int]
    load_before: float

    @property
    def audio(self) -> float:
        """Seconds of audio that are done."""
        return self.result.done_seconds

    @property
    def model_seconds(self) -> float:
        return sum(self.stages[stage] for stage in NETWORK_STAGES)


def run_bench(bundle: Bundle, settings: Settings, resources: Resources, seconds: float) -> dict[str, object]:
    """Figures of a run over a recording of ``seconds``, made for it."""
    return run_figures(measure_made(MadeArchive(seconds), bundle, settings, resources), bundle, settings, resources)


def measure_made(archive: MadeArchive, bundle: Bundle, settings: Settings, resources: Resources) -> Run:
    """Enhance an archive made for it, without the run's report: that is done once."""
    with TemporaryDirectory(prefix="exdiff-bench-") as folder:
        return measure_run(archive.write(Path(folder)), bundle, settings, resources, with_report=False)


def measure_run(
    paths: Sequence[Path], bundle: Bundle, settings: Settings, resources: Resources, with_report: bool = True
) -> Run:
    """Enhance all that ``paths`` name, as `exdiff enhance` does, into a folder that is removed again.

    Recordings that fail are told, and do not count as audio. Raises :class:`NothingDoneError` where all do.
    """
    load = os.getloadavg()[0]
    with TemporaryDirectory(prefix="exdiff-bench-") as folder, counted_frames() as frames:
        began, cpu = perf_counter(), _cpu_seconds()
        result = enhance_all(paths, Path(folder) / "out", bundle, settings, resources)
        stages = dict(result.stage_seconds)
        if with_report and result.done_count:
            stages["report"] = _report(result)
        wall, cpu = perf_counter() - began, _cpu_seconds() - cpu
    if not result.done_count:
        raise NothingDoneError(str(result.failed[0].error))
    for failed in result.failed:
        log.warning("failed, and does not count: %s", failed.error)
    counted = {network: sum(calls) for network, calls in frames.items()}
    return Run(result, wall, cpu, stages, counted, round(load, 2))


def _report(result: RunResult) -> float:
    began = perf_counter()
    write_report(result.output, ReportOptions(picture_seconds=SHARE_FOR_PICTURES * result.seconds))
    return perf_counter() - began


def _cpu_seconds() -> float:
    """User and system time of the process, all its threads, and the children it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def run_figures(run: Run, bundle: Bundle, settings: Settings, resources: Resources) -> dict[str, object]:
    """What a run comes to, to be printed.

    ``cpu_seconds`` and ``by_stage`` are seconds of work a second of audio. Stages overlap in time, so that they may add
    up to more than the whole. ``peak_memory_mib`` is the process's, models and libraries included. Where
    ``load_before`` is not near zero others were at work, and the figures are worse than the machine's.
    """
    stages = run.stages
    figures: dict[str, object] = {
        "bundle": bundle.name,
        "weights_sha256": bundle.weights_sha256,
        "device": resources.device,
        "threads": torch.get_num_threads(),
        "workers": resources.workers,
        "cores": os.cpu_count(),
        "batch": run.result.batch,
        "precision": settings.precision.value,
        "steps": settings.sampler.steps,
        "audio_seconds": round(run.audio, 3),
        "files": run.result.done_count,
        "failed": len(run.result.failed),
        "load_before": run.load_before,
        "real_time_factor": round(run.wall / run.audio, 4),
        "audio_hours_per_hour": round(run.audio / run.wall, 2),
        "cpu_seconds": round(run.cpu / run.audio, 4),
        "by_stage": {stage: round(spent / run.audio, 6) for stage, spent in stages.items()},
        "score_share": round(stages["score"] / sum(stages.values()), 4),
        "diffuse_to_extract": round(stages["diffuse"] / max(stages["extract"], 1e-4), 2),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if resources.device.startswith("cuda"):
        figures["peak_device_memory_mib"] = round(
            sum(map(torch.cuda.max_memory_allocated, resources.devices)) / MEBIBYTE
        )
        figures["cuda_graphs"] = graphs_wanted()
        figures["device_busy"] = round(run.model_seconds / run.wall / len(resources.devices), 4)
    return figures
