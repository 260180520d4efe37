"""Counted work equals work counted by hand, and the published setting is timed and extrapolated as it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exdiff_cli.bench import peak, published
from exdiff_cli.bench.peak import matrix_peak, matrix_peaks
from exdiff_cli.bench.published import EVALUATIONS, measure_published
from exdiff_cli.bench.work import FRAMES, MacCounter, count_macs, counted_frames
from exdiff_cli.bundle import Bundle
from exdiff_cli.diffuse.base_net import BaseScoreNetConfig
from exdiff_cli.presets import PRESETS
from exdiff_cli.settings import Resources

CPU = torch.device("cpu")


def macs_of(module: nn.Module, *given: Tensor) -> int:
    with torch.no_grad(), MacCounter(module) as counter:
        module(*given)
    return counter.macs


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize(
    ("module", "shape", "by_hand"),
    [
        (nn.Conv2d(3, 8, (4, 3), padding=(1, 1), stride=(2, 1)), (2, 3, 16, 10), 2 * 8 * 10 * 8 * 3 * 4 * 3),
        (nn.Conv2d(6, 6, 3, padding=1, groups=6), (1, 6, 5, 7), 5 * 7 * 6 * 9),
        (nn.ConvTranspose2d(8, 3, (4, 3), stride=(2, 1), padding=(1, 1)), (2, 8, 8, 10), 2 * 8 * 10 * 8 * 3 * 4 * 3),
        (nn.Linear(7, 5), (2, 3, 7), 2 * 3 * 7 * 5),
        (Attention(), (2, 4, 10, 6), 2 * 2 * 4 * 10 * 10 * 6),
        (nn.GRU(5, 4, batch_first=True), (3, 6, 5), 3 * 6 * 3 * 4 * (5 + 4)),
        (nn.GRU(5, 4, batch_first=True, bidirectional=True), (3, 6, 5), 2 * 3 * 6 * 3 * 4 * (5 + 4)),
        (nn.GRU(5, 4, num_layers=2, bidirectional=True), (6, 3, 5), 2 * 18 * 3 * 4 * (5 + 4 + 8 + 4)),
        (nn.LSTM(5, 4), (6, 3, 5), 18 * 4 * 4 * (5 + 4)),
    ],
    ids=str,
)
def test_macs_by_hand(module: nn.Module, shape: tuple[int, ...], by_hand: int) -> None:
    assert macs_of(module, torch.randn(shape)) == by_hand


def test_recurrent_layers_count_beside_others_and_once_a_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.recur = nn.Linear(5, 5), nn.GRU(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.recur(self.recur(self.project(x))[0])[0]

    module, given = Twice(), torch.randn(6, 2, 5)
    by_hand = 12 * 5 * 5 + 2 * 12 * 3 * 5 * 10
    assert macs_of(module, given) == by_hand
    assert macs_of(module, given) == by_hand  # No hook is left.
    assert macs_of(module.eval().requires_grad_(False), given) == by_hand


def test_macs_of_a_bundle_grow_with_its_sound(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame costs the same, however many there are, so that frames may be added up."""
    once = count_macs(bundle, CPU)
    monkeypatch.setattr("exdiff_cli.bench.work.FRAMES", 2 * FRAMES)
    twice = count_macs(bundle, CPU)
    assert min(once.extract, once.diffuse) > 0
    assert twice.extract == pytest.approx(once.extract, rel=0.01)
    assert twice.diffuse == pytest.approx(once.diffuse, rel=0.01)
    assert once.of({"extract": 10, "diffuse": 4}) == pytest.approx(10 * once.extract + 4 * once.diffuse)


def test_frames_of_all_rows_are_counted_only_meanwhile(bundle: Bundle) -> None:
    spectrum = torch.randn(3, bundle.spectral.bins, 64, dtype=torch.complex64)
    query = torch.zeros(3, dtype=torch.long)
    with counted_frames() as frames:
        extraction = bundle.separator(spectrum, query)
    bundle.separator(spectrum, query)
    bundle.score_net(spectrum, torch.ones(3), bundle.score_net.condition(spectrum, extraction))
    assert frames == {"extract": [3 * 64], "diffuse": []}


def test_the_peak_is_of_the_operations_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))  # Every product takes a second.
    monkeypatch.setattr(peak, "perf_counter", lambda: float(next(times)))
    assert matrix_peak(CPU, torch.float32, 16) == 2 * 16**3
    monkeypatch.setitem(peak.SIZES, "cpu", 8)
    assert matrix_peaks(CPU) == {"float32": 2 * 8**3}


@pytest.fixture
def tiny_base(monkeypatch: pytest.MonkeyPatch) -> None:
    config = BaseScoreNetConfig(base_channels=16, token_size=8, latent_channels=4, latent_bands=4)
    monkeypatch.setitem(PRESETS, "base", replace(PRESETS["base"], score_net=config))


@pytest.mark.usefixtures("tiny_base")
def test_the_published_setting_is_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 7.0, 10.0, 14.0, 20.0, 25.0])  # Evaluations of 7, 4 and 5 seconds.
    monkeypatch.setattr(published, "perf_counter", lambda: next(times))
    figures: Any = measure_published(Resources(batch=2), run_factor=0.5)
    audio = 2 * 256 * 128 / 16_000
    assert figures["audio_seconds"] == pytest.approx(audio, abs=0.001)
    assert figures["seconds_per_evaluation"] == 4.0
    assert figures["real_time_factor"] == pytest.approx(EVALUATIONS * 4.0 / audio, rel=0.001)
    assert figures["times_faster"] == pytest.approx(figures["real_time_factor"] / 0.5, rel=0.001)
    assert (figures["evaluations"], figures["evaluations_timed"]) == (60, 3)
    assert figures["macs_per_second"] > 0
    assert "extrapolated from 3 evaluations" in figures["note"]
    assert "not even counted" in figures["note"]


@pytest.mark.usefixtures("tiny_base")
def test_the_published_setting_needs_three_evaluations() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        measure_published(Resources(), 0.5, timed=2)


@pytest.mark.usefixtures("tiny_base")
def test_measuring_the_published_setting_leaves_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    measure_published(Resources(), 0.5)
    assert torch.equal(torch.rand(3), expected)
