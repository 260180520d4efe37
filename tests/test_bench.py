"""The benchmark: all its figures are there and could be true."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from typing import Any

import pytest
from bundles import short_settings
from rich.console import Console

from exdiff_cli.audio.io import AtomicWriter
from exdiff_cli.bench import bench_table, run_bench
from exdiff_cli.bundle import Bundle
from exdiff_cli.errors import ExdiffError
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.settings import Resources
from exdiff_cli.stream import STAGES


@pytest.fixture(autouse=True)
def _quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
        return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(Dnsmos, "score", score)


def figures_of(bundle: Bundle, seconds: float = 3.0, **settings: Any) -> dict[str, Any]:
    return run_bench(bundle, short_settings(bundle, **settings), Resources(batch=2), seconds)


def test_all_figures_are_there(bundle: Bundle) -> None:
    figures = figures_of(bundle)
    assert figures["bundle"] == bundle.name
    assert (figures["device"], figures["batch"], figures["steps"]) == ("cpu", 2, 2)
    assert figures["audio_seconds"] == 3.0
    assert figures["threads"] >= 1
    assert figures["cores"] >= 1
    assert figures["real_time_factor"] > 0
    assert figures["diffuse_to_extract"] > 0
    assert figures["peak_memory_mib"] > 50
    assert set(figures["by_stage"]) == set(STAGES)
    assert all(figures["by_stage"][stage] > 0 for stage in ("extract", "diffuse", "score"))


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


def test_the_table_shows_every_figure() -> None:
    figures: dict[str, object] = {"real_time_factor": 0.25, "by_stage": {"extract": 0.125}, "bundle": "tiny"}
    console = Console(width=100)
    with console.capture() as capture:
        console.print(bench_table(figures))
    lines = capture.get().splitlines()
    for name, value in (("real time factor", "0.25"), ("by stage extract", "0.125"), ("bundle", "tiny")):
        assert any(name in line and value in line for line in lines)
