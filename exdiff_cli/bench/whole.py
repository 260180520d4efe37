"""All that one call of `exdiff bench` measures, in the order in which nothing spoils what comes after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from exdiff_cli.audio.io import AUDIO_SUFFIXES
from exdiff_cli.bench.against import compare
from exdiff_cli.bench.archive import MadeArchive, speech_share
from exdiff_cli.bench.machine import describe_machine
from exdiff_cli.bench.peak import matrix_peaks
from exdiff_cli.bench.published import measure_published
from exdiff_cli.bench.run import Run, measure_run, run_figures
from exdiff_cli.bench.scaling import measure_scaling
from exdiff_cli.bench.work import count_macs
from exdiff_cli.bundle import Bundle
from exdiff_cli.discover import discover
from exdiff_cli.settings import Resources, Settings


@dataclass(frozen=True)
class Wanted:
    """What to measure: a run over ``paths``, or over an archive that is ``made``; and what beside it."""

    made: MadeArchive = field(default_factory=MadeArchive)
    paths: tuple[Path, ...] = ()
    scaling: bool = False
    published: bool = False
    stored: dict[str, Any] | None = None


def bench(wanted: Wanted, bundle: Bundle, settings: Settings, resources: Resources) -> dict[str, Any]:
    """The figures, ready to be printed as JSON. Raises the errors of a run."""
    with _archive(wanted) as paths:
        run = measure_run(paths, bundle, settings, resources)
        # Before all else, as the peak of memory is the process's.
        figures = run_figures(run, bundle, settings, resources)
        failed = {outcome.job.source for outcome in run.result.failed}
        heard = (job.source for job in discover(paths, None, AUDIO_SUFFIXES).jobs if job.source not in failed)
        figures |= {**_about(wanted), "speech_share": speech_share(heard)}
    figures["work"] = work_figures(run, bundle, resources)
    if wanted.scaling:
        figures["scaling"] = measure_scaling(bundle, settings, resources, wanted.made.seconds)
    if wanted.published:
        figures["published"] = measure_published(resources, run.wall / run.audio)
    figures["machine"] = describe_machine(resources.devices[0])
    if wanted.stored is not None:
        figures["against"] = compare(figures, wanted.stored)
    return figures


@contextmanager
def _archive(wanted: Wanted) -> Iterator[Sequence[Path]]:
    if wanted.paths:
        yield wanted.paths
        return
    with TemporaryDirectory(prefix="exdiff-bench-") as folder:
        yield wanted.made.write(Path(folder))


def _about(wanted: Wanted) -> dict[str, object]:
    if wanted.paths:
        return {"archive": "own"}
    return {"archive": "made", "rate": wanted.made.rate, "channels": wanted.made.channels}


def work_figures(run: Run, bundle: Bundle, resources: Resources) -> dict[str, object]:
    """MACs of a second of sound in either network, of the run a second of its audio, and the device's part in it.

    ``flop_utilisation`` is the share of the device's float32 matrix products that Extract and Diffuse reach; a MAC is
    two operations. A CPU computes several batches at a time, and its products with all threads.
    """
    device = torch.device(resources.devices[0])
    at_a_time = resources.workers * len(resources.devices) if device.type == "cpu" else 1
    macs, peaks = count_macs(bundle, device), matrix_peaks(device)
    done, a_second = macs.of(run.frames), bundle.spectral.frames_per_second
    seconds = {network: frames / a_second / run.audio for network, frames in run.frames.items()}
    return {
        "extract_macs_per_second": round(macs.extract * a_second),
        "diffuse_macs_per_second": round(macs.diffuse * a_second),
        "extract_seconds": round(seconds["extract"], 4),
        "diffuse_seconds": round(seconds["diffuse"], 4),
        "macs_per_audio_second": round(done / run.audio),
        "peak_flops": {kind: round(peak) for kind, peak in peaks.items()},
        "flop_utilisation": round(2 * done * at_a_time / run.model_seconds / peaks["float32"], 4),
    }
