"""The benchmark of a whole run: all its figures are there and could be true."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from bundles import short_settings
from recordings import store
from rich.console import Console

from exdiff_cli.audio.io import AtomicWriter
from exdiff_cli.bench import peak, run_bench, scaling
from exdiff_cli.bench.archive import MadeArchive, speech_share
from exdiff_cli.bench.run import measure_run, run_figures
from exdiff_cli.bench.scaling import measure_scaling, thread_counts
from exdiff_cli.bench.table import bench_table
from exdiff_cli.bench.whole import Wanted, bench
from exdiff_cli.bundle import Bundle
from exdiff_cli.errors import ExdiffError, UsageError
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.settings import Resources
from exdiff_cli.stages import STAGES


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
        return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(Dnsmos, "score", score)
    monkeypatch.setitem(peak.SIZES, "cpu", 64)


def figures_of(bundle: Bundle, seconds: float = 3.0, **settings: Any) -> dict[str, Any]:
    return run_bench(bundle, short_settings(bundle, **settings), Resources(batch=2), seconds)


def whole(bundle: Bundle, wanted: Wanted) -> dict[str, Any]:
    return bench(wanted, bundle, short_settings(bundle), Resources(batch=2))


# --- one run ------------------------------------------------------------------------------------------------


def test_all_figures_are_there(bundle: Bundle) -> None:
    figures = figures_of(bundle)
    assert figures["bundle"] == bundle.name
    assert (figures["device"], figures["batch"], figures["steps"]) == ("cpu", 2, 2)
    assert (figures["audio_seconds"], figures["files"], figures["failed"]) == (3.0, 1, 0)
    assert figures["threads"] >= 1
    assert figures["cores"] >= 1
    assert figures["real_time_factor"] > 0
    assert figures["audio_hours_per_hour"] == pytest.approx(1 / figures["real_time_factor"], rel=0.01)
    assert figures["cpu_seconds"] > 0
    assert figures["diffuse_to_extract"] > 0
    assert figures["peak_memory_mib"] > 50
    assert set(figures["by_stage"]) == set(STAGES)
    idle = {"resample"}  # There is nothing to do at the models' own rate.
    assert all(figures["by_stage"][stage] > 0 for stage in set(STAGES) - idle)
    assert 0 < figures["score_share"] < 1


def test_stages_do_not_count_twice(bundle: Bundle, tmp_path: Path) -> None:
    """Three threads work at once at most, and each of them is in one stage at a time."""
    settings, resources = short_settings(bundle), Resources()
    run = measure_run(MadeArchive(3.0).write(tmp_path), bundle, settings, resources)
    assert set(run.stages) == {*STAGES, "report"}
    assert 0 < sum(run.stages.values()) < 3 * run.wall
    share = run_figures(run, bundle, settings, resources)["score_share"]
    assert share == pytest.approx(run.stages["score"] / sum(run.stages.values()), abs=1e-4)


def test_every_recording_adds_to_the_stages(bundle: Bundle, tmp_path: Path) -> None:
    """More of them than a run keeps the reports of."""
    paths = MadeArchive(50.0, files=50).write(tmp_path)
    settings = short_settings(bundle, steps=0)
    few, all_of_them = (measure_run(paths[:count], bundle, settings, Resources()) for count in (5, 50))
    assert (few.result.done_count, all_of_them.result.done_count) == (5, 50)
    assert all_of_them.frames["extract"] == 10 * few.frames["extract"]
    assert all_of_them.stages["open"] > few.stages["open"]
    assert all_of_them.audio == pytest.approx(50.0)


def test_resampling_is_a_stage_where_rates_differ(bundle: Bundle, tmp_path: Path) -> None:
    run = measure_run(MadeArchive(1.0, rate=8_000).write(tmp_path), bundle, short_settings(bundle), Resources())
    assert run.stages["resample"] > 0


def test_figures_are_json(bundle: Bundle) -> None:
    figures = figures_of(bundle, 1.0)
    assert json.loads(json.dumps(figures)) == figures


def test_extract_alone(bundle: Bundle) -> None:
    figures = figures_of(bundle, 1.0, steps=0)
    assert (figures["steps"], figures["diffuse_to_extract"], figures["by_stage"]["diffuse"]) == (0, 0, 0)


def test_a_failure_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(writer: AtomicWriter, samples: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(AtomicWriter, "write", refuse)
    with pytest.raises(ExdiffError, match="No space left"):
        figures_of(bundle, 1.0)


# --- what is enhanced ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("files", "rate", "channels"), [(1, 16_000, 1), (7, 8_000, 2), (12, 44_100, 1)])
def test_an_archive_of_several_files_is_as_long_as_one(tmp_path: Path, files: int, rate: int, channels: int) -> None:
    paths = MadeArchive(9.5, files, rate, channels).write(tmp_path)
    assert len(set(paths)) == files
    infos = [soundfile.info(path) for path in paths]
    assert {(info.samplerate, info.channels) for info in infos} == {(rate, channels)}
    lengths = [info.frames for info in infos]
    assert sum(lengths) == int(9.5 * rate)
    assert max(lengths) - min(lengths) <= 1


def test_more_files_than_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="--files 20000: 1 s are too short"):
        MadeArchive(1.0, files=20_000)


def test_speech_share(tmp_path: Path) -> None:
    """Of all channels and recordings, by time."""
    talk, silence = store(tmp_path / "talk.wav", 3.0), store(tmp_path / "silence.wav", 3.0, gain=0.0)
    assert speech_share([silence]) == 0
    assert 0.3 < speech_share([talk]) <= 1
    assert speech_share([talk, silence]) == pytest.approx(speech_share([talk]) / 2, abs=0.01)
    sound = soundfile.read(talk)[0]
    soundfile.write(tmp_path / "one-sided.wav", [[sample, 0.0] for sample in sound], 16_000)
    assert speech_share([tmp_path / "one-sided.wav"]) == pytest.approx(speech_share([talk]) / 2, abs=0.01)
    assert speech_share([]) == 0


def test_an_archive_of_ones_own_stays_as_it_is(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = tmp_path / "calls"
    store(calls / "a.wav", 1.0, rate=8_000)
    store(calls / "sub" / "b.wav", 1.5)
    (calls / "broken.wav").write_text("no sound")
    before = {path: path.stat() for path in tmp_path.rglob("*")}
    figures = whole(bundle, Wanted(paths=(calls,)))
    assert {path: path.stat() for path in tmp_path.rglob("*")} == before
    assert (figures["archive"], figures["files"], figures["failed"]) == ("own", 2, 1)
    assert figures["audio_seconds"] == pytest.approx(2.5)
    assert 0 < figures["speech_share"] <= 1
    assert "broken.wav" in caplog.text


# --- all of it ----------------------------------------------------------------------------------------------


def test_what_a_machine_has_to_do_and_what_it_is(bundle: Bundle) -> None:
    figures = whole(bundle, Wanted(MadeArchive(3.0)))
    assert json.loads(json.dumps(figures)) == figures
    assert (figures["archive"], figures["rate"], figures["channels"]) == ("made", 16_000, 1)
    assert figures["machine"].keys() >= {
        "processor",
        "cores",
        "threads",
        "memory_mib",
        "torch",
        "exdiff",
        "device_name",
    }
    work = figures["work"]
    assert work["extract_seconds"] >= 1  # Segments overlap, and the last one is filled up.
    done = work["extract_macs_per_second"] * work["extract_seconds"]
    done += work["diffuse_macs_per_second"] * work["diffuse_seconds"]
    assert work["macs_per_audio_second"] == pytest.approx(done, rel=0.001)
    assert work["flop_utilisation"] > 0
    assert work["peak_flops"].keys() == {"float32"}
    assert "scaling" not in figures
    assert "published" not in figures


def test_scaling_is_relative_to_the_runs_own(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int, float]] = []

    def measured(_: Bundle, __: object, resources: Resources, seconds: float) -> dict[str, object]:
        calls.append((torch.get_num_threads(), resources.batch, seconds))
        return {"real_time_factor": resources.batch / torch.get_num_threads()}

    monkeypatch.setattr(scaling, "run_bench", measured)
    monkeypatch.setattr(scaling, "thread_counts", lambda: (1, 2))
    threads = torch.get_num_threads()
    found: Any = measure_scaling(bundle, short_settings(bundle), Resources(batch=2), 1_000.0)
    assert torch.get_num_threads() == threads
    assert {seconds for _, _, seconds in calls} == {scaling.MOST_SECONDS}
    assert len(calls) == len(set(calls))
    assert {count: each["ratio"] for count, each in found["batch"].items()} == {"1": 0.5, "2": 1, "4": 2, "8": 4}
    assert found["threads"][str(threads)]["ratio"] == 1
    assert {"1", "2"} <= found["threads"].keys()
    assert found["threads"]["1"]["ratio"] / found["threads"]["2"]["ratio"] == 2


def test_thread_counts_double_up_to_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, counts in ((1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert thread_counts() == counts


def test_the_table_shows_every_figure() -> None:
    figures: dict[str, object] = {
        "real_time_factor": 0.25,
        "by_stage": {"extract": 0.125},
        "bundle": "[bold]tiny",
        "scaling": {"batch": {"8": {"ratio": 0.5}}},
        "work": {"macs": 1_234_567},
        "published": {"note": "extrapolated"},
    }
    console = Console(width=100)
    with console.capture() as capture:
        console.print(bench_table(figures))
    lines = capture.get().splitlines()
    shown = (
        ("real time factor", "0.25"),
        ("by stage extract", "0.125"),
        ("bundle", "[bold]tiny"),
        ("scaling batch 8 ratio", "0.5"),
        ("work macs", "1,234,567"),
        ("published note", "extrapolated"),
    )
    for name, value in shown:
        assert any(name in line and value in line for line in lines)
