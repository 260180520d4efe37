"""Archives of a million recordings: what is found and planned streams, and takes a query a page."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from bundles import short_settings

from exdiff_cli.audio.io import AUDIO_SUFFIXES
from exdiff_cli.bundle import Bundle
from exdiff_cli.discover import discover
from exdiff_cli.engine import Listener, RunOptions, _Run
from exdiff_cli.jobs import PAGE_JOBS, Job, Jobs
from exdiff_cli.manifest import PAGE_ROWS, Manifest, Row, State
from exdiff_cli.settings import Resources

FILES = 100
"""Real files behind the generated rows, so that looking at sizes and times is real as well."""


def relative_of(number: int) -> Path:
    return Path(f"site{number // 10_000:02}/{number // 1000 % 10}/call-{number:07}.wav")


def jobs_of(source: Path, count: int) -> Iterator[Job]:
    return (Job(source / f"{number % FILES}.wav", relative_of(number)) for number in range(count))


def fill(manifest: Manifest, source: Path, out: Path, count: int, settings_key: str, weights: str) -> None:
    """Generate ``count`` rows of recordings that are done."""
    times = []
    for folder in (source, out):
        folder.mkdir(exist_ok=True)
        for number in range(FILES):
            (folder / f"{number}.wav").write_bytes(b"x")
        times.append([(folder / f"{number}.wav").stat().st_mtime_ns for number in range(FILES)])

    def rows() -> Iterator[tuple[Any, ...]]:
        for number, job in enumerate(jobs_of(source, count)):
            of, sha256 = number % FILES, f"{number:064}"
            before = (str(job.relative), str(job.source), 1, times[0][of], sha256, settings_key, weights)
            yield (*before, State.DONE, 1, None, f"{of}.wav", 1, sha256, '{"extract": 1.0}', "2026", times[1][of], None)

    database = manifest._database
    database.execute("BEGIN")
    database.executemany(f"INSERT INTO recordings VALUES ({', '.join('?' * len(fields(Row)))})", rows())
    database.execute("COMMIT")


def planned(tmp_path: Path, bundle: Bundle, count: int, new: int, wrap: Callable[[Manifest], None]) -> tuple[int, int]:
    """How many are pending and how many skipped, of ``count`` of which ``new`` are not in the manifest."""
    source, out, settings = tmp_path / "in", tmp_path / "out", short_settings(bundle)
    with Manifest.open(out) as manifest:
        fill(manifest, source, out, count - new, settings.cache_key(), bundle.weights_sha256)
        jobs = Jobs(jobs_of(source, count))
        jobs.refuse_collisions()
        wrap(manifest)
        run = _Run(out, manifest, bundle, settings, Resources(), Listener(), RunOptions())
        return len(run.plan(jobs)), run.result.skipped


def test_planning_takes_a_query_a_page(tmp_path: Path, bundle: Bundle) -> None:
    count, statements = 4 * PAGE_JOBS, list[str]()
    found = planned(
        tmp_path, bundle, count, 0, lambda manifest: manifest._database.set_trace_callback(statements.append)
    )
    assert found == (0, count)
    assert len([each for each in statements if each.startswith("SELECT")]) == count / PAGE_ROWS
    assert len(statements) <= count / PAGE_ROWS + 2 * count / PAGE_JOBS


def test_memory_does_not_grow_with_what_is_found(tmp_path: Path) -> None:
    """Neither with a folder's entries nor with the whole: a job takes about 800 bytes."""
    count = 4 * PAGE_JOBS
    for number in range(count):
        path = tmp_path / "calls" / str(number // (count // 2)) / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    tracemalloc.start()
    found = discover([tmp_path / "calls"], tmp_path / "out", AUDIO_SUFFIXES)
    assert sum(1 for _ in found.jobs) == count
    # Without pathlib's: it interns every name, in a table of the whole process that grows by leaps.
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
    tracemalloc.stop()
    assert sum(each.size for each in ours.statistics("filename")) < 200 * count


MILLION = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_scale
from exdiff_cli.bundle import load_bundle
began = []
found = test_scale.planned(
    Path(sys.argv[2]), load_bundle("exdiff-speech-16k"), 1_000_000, 20_000, lambda _: began.append(time.process_time())
)
seconds, kib = time.process_time() - began[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"found": found, "seconds": seconds, "mib": kib / 1024}))
"""


@pytest.mark.soak
def test_a_million_rows_are_planned_within_a_minute_and_a_gibibyte(tmp_path: Path) -> None:
    """980,000 done before and 20,000 new; processor time, as others may be at work."""
    called = [sys.executable, "-c", MILLION, str(Path(__file__).parent), str(tmp_path)]
    told = json.loads(subprocess.run(called, capture_output=True, text=True, check=True).stdout)
    assert told["found"] == [20_000, 980_000]
    assert told["seconds"] < 60
    assert told["mib"] < 1024
