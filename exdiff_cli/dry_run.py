"""What a run would do, without doing it: recordings, hours, expected time, disk and cost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.table import Table
from rich.text import Text

from exdiff_cli.audio.band_above import as_stored
from exdiff_cli.audio.formats import output_format
from exdiff_cli.audio.io import probe
from exdiff_cli.audio.limits import MOST_HOURS
from exdiff_cli.audio.recording import Recording
from exdiff_cli.bench import MadeArchive, Run, measure_made
from exdiff_cli.bundle import Bundle
from exdiff_cli.engine import RunOptions
from exdiff_cli.errors import RecordingError, UsageError
from exdiff_cli.jobs import Job
from exdiff_cli.manifest import Manifest, NewerManifestError
from exdiff_cli.measures.dnsmos import WINDOW_SAMPLES, Dnsmos
from exdiff_cli.measures.rated import LEAST_SECONDS, drawn_share, rated_count
from exdiff_cli.settings import Ratings, Resources, Settings
from exdiff_cli.text import printable

CALIBRATION_SECONDS = 30.0
"""Of each of the recordings that the speed is measured on, which are as many as are scored at a time."""

REPORT_BYTES = 8192
"""What a quality report takes on a disk, in whole blocks."""

SAMPLE_BYTES = {"PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "PCM_U8": 1, "PCM_S8": 1, "ULAW": 1, "ALAW": 1}
LOSSY = frozenset({"MPEG_LAYER_III", "VORBIS", "OPUS", "AAC"})
USUAL_BIT_RATE = 96_000
"""A channel, where nobody says; encoders seldom take more for talk."""


@dataclass(frozen=True)
class Load:
    """What is to be done: recordings, seconds of audio over all channels, bytes; and what cannot be opened.

    ``bytes`` are those of the results, ``waiting_bytes`` what the largest takes beside it until it is complete.
    ``done_before`` counts all that a run would pass over, ``rated_windows`` how many DNSMOS is
    expected to rate, each before and after.
    """

    recordings: int = 0
    done_before: int = 0
    unreadable: int = 0
    audio_seconds: float = 0.0
    channel_seconds: float = 0.0
    rated_windows: float = 0.0
    bytes: int = 0
    waiting_bytes: int = 0


@dataclass(frozen=True)
class Estimate:
    """A load, and what it is expected to take: seconds of time, bytes of disk, and money where a price is given."""

    load: Load
    output: Path
    real_time_factor: float
    expected_seconds: float
    disk_bytes: int
    disk_free_bytes: int
    cost: float | None

    def as_json(self) -> dict[str, object]:
        """Flat, for programs."""
        values = {name: value for name, value in asdict(self).items() if name not in ("load", "output")}
        return {"message_type": "dry_run", "output": str(self.output), **asdict(self.load), **values}


def measure_load(
    jobs: Iterable[Job],
    is_wanted: Callable[[Job], bool],
    settings: Settings,
    checked: Callable[[], object] = lambda: None,
    max_hours: float = MOST_HOURS,
) -> Load:
    """Add up the recordings that a run would do; only their headers are read."""
    load = Load()
    for job in jobs:
        checked()
        if not is_wanted(job):
            load = replace(load, done_before=load.done_before + 1)
            continue
        try:
            recording = probe(job.source, max_hours)
            size, waiting = expected_bytes(recording, settings)
        except (RecordingError, OSError):
            load = replace(load, unreadable=load.unreadable + 1)
            continue
        load = replace(
            load,
            recordings=load.recordings + 1,
            audio_seconds=load.audio_seconds + recording.seconds,
            channel_seconds=load.channel_seconds + recording.seconds * recording.channels,
            rated_windows=load.rated_windows + expected_ratings(recording, settings),
            bytes=load.bytes + size,
            waiting_bytes=max(load.waiting_bytes, waiting),
        )
    return load


def expected_ratings(recording: Recording, settings: Settings) -> float:
    """How many windows DNSMOS rates, or the chance that it does where others may stand for it."""
    if recording.seconds < LEAST_SECONDS:
        return 0.0
    chance = drawn_share(recording.seconds) if settings.ratings is Ratings.SAMPLED else 1.0
    return chance * rated_count(recording.seconds)


def expected_bytes(recording: Recording, settings: Settings) -> tuple[int, int]:
    """About what a result takes on a disk, and what waits there until its loudness is known.

    Raises OSError and RecordingError.
    """
    stored = as_stored(recording, settings.extend_band)
    samples = stored.frames * stored.channels
    output = output_format(stored, settings.storage)
    waiting = 4 * samples if settings.loudness is not None else 0
    if output.kept:
        return round(recording.path.stat().st_size * stored.frames / recording.frames), waiting
    if output.subtype in LOSSY:
        bit_rate = output.bit_rate or recording.bit_rate or USUAL_BIT_RATE * stored.channels
        return round(bit_rate / 8 * stored.seconds), waiting
    return samples * SAMPLE_BYTES.get(output.subtype, 2), waiting


@contextmanager
def looked_up(output: Path, options: RunOptions, settings: Settings, bundle: Bundle) -> Iterator[Callable[[Job], bool]]:
    """Whether a run would do a recording, by the manifest; results are not hashed for it.

    Raises UsageError where the run would, as the manifest is of a newer exdiff.
    """
    key = settings.cache_key()
    try:
        opened = Manifest.open(output, options.part, read_only=True)
    except NewerManifestError:
        raise
    except UsageError:
        yield lambda job: not options.only_failed
        return
    with opened as manifest:

        def is_wanted(job: Job) -> bool:
            if options.only_failed and not manifest.failed_among([job]):
                return False
            return not manifest.is_done(
                job.relative, job.source, key, bundle.weights_sha256, output, verify_hashes=False
            )

        yield is_wanted


def estimate(
    load: Load, output: Path, bundle: Bundle, settings: Settings, resources: Resources, price_per_hour: float | None
) -> Estimate:
    """Expect a load to run at the speed of short recordings that are made for it."""
    seconds = 0.0
    if load.recordings:
        archive = MadeArchive(CALIBRATION_SECONDS * resources.publishers, resources.publishers)
        measured = measure_made(archive, bundle, replace(settings, ratings=Ratings.ALL), resources)
        seconds = expected_seconds(load, measured, seconds_a_window(), resources)
    return Estimate(
        load,
        output,
        real_time_factor=round(seconds / load.channel_seconds, 4) if seconds else 0.0,
        expected_seconds=round(seconds, 1),
        disk_bytes=load.bytes + load.waiting_bytes + REPORT_BYTES * load.recordings,
        disk_free_bytes=shutil.disk_usage(_existing(output)).free,
        cost=None if price_per_hour is None else round(seconds / 3600 * price_per_hour, 2),
    )


def expected_seconds(load: Load, measured: Run, window: float, resources: Resources) -> float:
    """What a load takes, by a run over recordings of which one window each was rated, in ``window`` seconds.

    The longest of what the cores, the models and the publishers, who rate, have to do. Each channel costs as much as
    another, and each window as another: short recordings have more windows.
    """
    seconds, rating = load.channel_seconds / measured.audio, window * load.rated_windows
    work = seconds * (measured.cpu - window * measured.result.done_count) + rating
    models = seconds * measured.model_seconds / (resources.workers * len(resources.devices))
    return max(work / len(os.sched_getaffinity(0)), models, rating / resources.publishers)


def seconds_a_window() -> float:
    """What it takes to rate a window before and after, on one core."""
    noise, model = np.random.default_rng(0).standard_normal(WINDOW_SAMPLES), Dnsmos()
    model.score([noise])  # which loads it
    began = perf_counter()
    model.score([noise, noise])
    return perf_counter() - began


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def estimate_table(found: Estimate) -> Table:
    """For people."""
    load = found.load
    table = Table(title=Text(f"would write to {printable(str(found.output))}"), title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("recordings", str(load.recordings))
    table.add_row("done before", str(load.done_before))
    table.add_row("cannot be opened", str(load.unreadable))
    table.add_row("audio", f"{load.audio_seconds / 3600:.2f} h")
    table.add_row("expected time", f"{found.expected_seconds / 3600:.2f} h")
    table.add_row("disk needed", f"{found.disk_bytes / 1e9:.3f} GB of {found.disk_free_bytes / 1e9:.0f} GB free")
    if found.cost is not None:
        table.add_row("cost", f"{found.cost:.2f}")
    return table
