"""What is replayed: what comes again and again, equal to the networks and faster, and nothing where anything is wrong.

A device of this file's own stands for a GPU: its graphs call the network again. tests/test_cuda.py has the real one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from bundles import SEGMENT, short_settings
from recordings import talk
from torch import Tensor, nn

from exdiff_cli import bundle as bundle_module
from exdiff_cli.bench.work import count_macs, counted_frames
from exdiff_cli.bundle import Bundle
from exdiff_cli.config import GRAPHS_VARIABLE, unknown_variables
from exdiff_cli.cuda_graph import (
    CHECKS,
    MOST_GRAPHS,
    PATIENCE,
    SIGHTS,
    ReplayedScoreNet,
    ReplayedSeparator,
    Replays,
    Tensors,
    agree,
    graphs_wanted,
)
from exdiff_cli.enhancer import Enhancer, Piece
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.separator import Separator
from exdiff_cli.settings import Precision

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
SHORTAGE = torch.OutOfMemoryError("CUDA out of memory.")


@dataclass
class FakeDevice:
    """Replays by calling again.

    ``spoil`` changes what a replay writes; one that ``is_stale`` reads nothing. ``times`` are those measured next; the
    network takes twice as long as its graph otherwise.
    """

    spoil: Callable[[Tensor], object] = lambda made: None
    error: Exception | None = None
    is_stale: bool = False
    times: list[float] = field(default_factory=list)
    captures: int = 0
    replays: int = 0
    releases: int = 0
    measured: int = 0
    waits: int = 0

    def capture(self, call: Callable[[], Tensors]) -> tuple[Callable[[], object], Tensors]:
        if self.error:
            raise self.error
        self.captures += 1
        outputs = tuple(each.clone() for each in call())

        def replay() -> None:
            self.replays += 1
            if self.is_stale:
                return
            for own, each in zip(outputs, call(), strict=True):
                own.copy_(each)
                self.spoil(own)

        return replay, outputs

    def milliseconds(self, call: Callable[[], object]) -> float:
        call()
        self.measured += 1
        return self.times.pop(0) if self.times else 1.0 + self.measured % 2

    def wait(self) -> None:
        self.waits += 1

    def release(self) -> None:
        self.releases += 1


class Doubling(nn.Module):
    """A network of one weight that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0), requires_grad=False)
        self.calls = 0

    def compute(self, x: Tensor) -> Tensors:
        self.calls += 1
        return self.weight * x, x + 1


@torch.inference_mode()
def run(replays: Replays, network: Doubling, size: int = 4, times: int = 1) -> None:
    """Run so many different inputs; each result has to be right, and no later call may write to it."""
    found = []
    for number in range(times):
        x = torch.arange(size) + float(number)
        found.append((x, replays.run(network, network.compute, (x,))))
    for x, (doubled, more) in found:
        assert torch.equal(doubled, 2 * x)
        assert torch.equal(more, x + 1)


@pytest.fixture
def network() -> Doubling:
    return Doubling()


# --- when there is a graph ----------------------------------------------------------------------------------


def test_a_shape_is_captured_when_it_comes_for_the_third_time(network: Doubling) -> None:
    device = FakeDevice()
    replays = Replays(device)
    run(replays, network, times=SIGHTS - 1)
    assert (device.captures, network.calls) == (0, SIGHTS - 1)
    run(replays, network)
    assert (device.captures, replays.count) == (1, 1)


def test_a_trusted_graph_takes_the_place_of_the_network(network: Doubling) -> None:
    device = FakeDevice()
    replays = Replays(device)
    run(replays, network, times=SIGHTS + CHECKS - 1)
    before = network.calls, device.replays
    run(replays, network, times=5)
    # The device of these tests calls the network in each replay.
    assert (network.calls - before[0], device.replays - before[1]) == (5, 5)
    assert device.captures == 1


def test_other_layouts_and_types_have_graphs_of_their_own(network: Doubling) -> None:
    device = FakeDevice()
    replays = Replays(device)
    flat = torch.arange(6.0).reshape(2, 3)
    with torch.inference_mode():
        for x in (flat, flat.T.contiguous().T, flat.double(), flat.T):
            for _ in range(SIGHTS):
                doubled, _ = replays.run(network, network.compute, (x,))
                assert torch.equal(doubled, 2 * x)
                assert doubled.stride() == (2 * x).stride()
    assert device.captures == 4


def test_each_precision_has_a_graph_of_its_own() -> None:
    linear, device = nn.Linear(8, 8).requires_grad_(False), FakeDevice()
    replays, x = Replays(device), torch.randn(2, 8)
    cached: list[bool] = []

    def call(given: Tensor) -> Tensors:
        cached.append(torch.is_autocast_cache_enabled())
        return (linear(given),)

    with torch.inference_mode():
        for _ in range(SIGHTS + CHECKS):
            (whole,) = replays.run(linear, call, (x,))
            with torch.autocast("cpu", torch.bfloat16):
                (half,) = replays.run(linear, call, (x,))
    assert (whole.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    assert device.captures == 2
    assert False in cached  # while it was captured: a graph must not read a weight that was cast for the call before


def test_only_inference_is_replayed(network: Doubling) -> None:
    device = FakeDevice()
    replays = Replays(device)
    for _ in range(3 * SIGHTS):
        replays.run(network, network.compute, (torch.ones(3),))
    with torch.no_grad():
        for _ in range(3 * SIGHTS):
            replays.run(network, network.compute, (torch.ones(3),))
    assert (device.captures, network.calls) == (0, 6 * SIGHTS)


def test_nothing_is_captured_while_it_is_paused(network: Doubling) -> None:
    replays = Replays(FakeDevice())
    with replays.paused():
        run(replays, network, times=3 * SIGHTS)
    assert replays.count == 0
    run(replays, network, times=SIGHTS)
    assert replays.count == 1


def test_a_graph_keeps_the_weights_it_was_made_of(network: Doubling) -> None:
    """It reads them where they were, whoever moves the module; that memory must not become another's."""
    replays = Replays(FakeDevice())
    run(replays, network, times=SIGHTS + CHECKS)
    pointer = network.weight.data_ptr()
    network.weight.data = torch.full((1,), 3.0)
    (shape,) = replays._shapes.values()
    assert shape.graph is not None
    assert [each.data_ptr() for each in shape.graph.weights] == [pointer]


# --- how many there are -------------------------------------------------------------------------------------


def test_the_least_recently_used_graph_goes(network: Doubling) -> None:
    device = FakeDevice()
    replays = Replays(device)
    for size in range(1, MOST_GRAPHS + 1):
        run(replays, network, size, SIGHTS + CHECKS)
    run(replays, network, 1)  # the oldest, which is now the latest used
    run(replays, network, 100, SIGHTS)
    assert replays.count == MOST_GRAPHS
    assert device.waits == 1  # A graph must not go while it runs.
    captures, calls = device.captures, device.replays
    run(replays, network, 1)
    assert device.replays == calls + 1
    run(replays, network, 2)  # which went, and runs as it is
    assert (device.replays, device.captures) == (calls + 1, captures)


def test_a_graph_that_went_is_made_again_only_for_what_comes_often(network: Doubling) -> None:
    """Or a run with many shapes would capture all of the time."""
    device = FakeDevice()
    replays = Replays(device)
    for size in range(1, MOST_GRAPHS + 2):
        run(replays, network, size, SIGHTS)
    captures = device.captures
    run(replays, network, 1, SIGHTS * PATIENCE - 1)
    assert device.captures == captures
    run(replays, network, 1)
    assert device.captures == captures + 1


# --- what is not trusted ------------------------------------------------------------------------------------


def off(made: Tensor) -> None:
    made.mul_(1.01)


@pytest.mark.parametrize("spoil", [off, lambda made: made.fill_(float("nan")), lambda made: made[..., -1:].add_(0.1)])
def test_a_replay_that_differs_ends_all_graphs(
    network: Doubling, caplog: pytest.LogCaptureFixture, spoil: Callable[[Tensor], object]
) -> None:
    device = FakeDevice()
    replays = Replays(device)
    run(replays, network, 3, SIGHTS + CHECKS)
    device.spoil = spoil
    with caplog.at_level(logging.WARNING):
        for size in (4, 5, 3):
            run(replays, network, size, 2 * SIGHTS)
    assert (replays.count, device.captures, device.releases) == (0, 2, 1)
    (record,) = caplog.records
    assert "differed" in record.getMessage()


def test_a_graph_that_reads_what_it_was_captured_with_is_found_out(network: Doubling) -> None:
    """Its first replay is right: only that of something else shows it."""
    device = FakeDevice(is_stale=True)
    replays = Replays(device)
    run(replays, network, times=SIGHTS + CHECKS + 2)
    assert (device.captures, replays.count) == (1, 0)


def test_rounding_is_no_difference(network: Doubling) -> None:
    replays = Replays(FakeDevice(spoil=lambda made: made.mul_(1 + 1e-6)))
    with torch.inference_mode():
        for _ in range(SIGHTS + CHECKS):
            replays.run(network, network.compute, (torch.ones(3),))
    assert replays.count == 1


@pytest.mark.parametrize(
    ("apart", "tolerance", "expected"), [(0.0, 0.0, True), (0.009, 0.01, True), (0.011, 0.01, False)]
)
def test_agreement_is_to_the_largest_value(apart: float, tolerance: float, expected: bool) -> None:
    wanted = torch.tensor([1.0, -4.0, 0.0])
    assert agree((wanted + 4 * apart,), (wanted,), tolerance) is expected


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_agrees_with_nothing(number: float) -> None:
    strange, plain = torch.tensor([1.0, number]), torch.tensor([1.0, 2.0])
    for found, wanted in ((strange, plain), (plain, strange), (strange, strange)):
        assert not agree((found,), (wanted,), 0.1)
    assert not agree((plain[:1],), (plain,), 0.1)


@pytest.mark.parametrize("times", [[1.0, 1.0], [1.0, 2.0], [1.0, 0.99]])
def test_what_is_no_faster_stays_as_it_is(
    network: Doubling, caplog: pytest.LogCaptureFixture, times: list[float]
) -> None:
    """Times of the network and of its graph."""
    device = FakeDevice(times=times)
    replays = Replays(device)
    with caplog.at_level(logging.INFO):
        run(replays, network, times=4 * SIGHTS)
    assert (device.captures, replays.count) == (1, 0)
    assert not caplog.records
    run(replays, network, 7, SIGHTS)
    assert replays.count == 1


# --- what fails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RuntimeError, TypeError])
def test_what_cannot_be_captured_is_tried_once_and_other_networks_go_on(
    network: Doubling, caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    device, other = FakeDevice(error=kind("operation not permitted when stream is capturing")), Doubling()
    replays = Replays(device)
    with caplog.at_level(logging.DEBUG):
        run(replays, network, 4, 2 * SIGHTS)
        run(replays, network, 5, 2 * SIGHTS)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "not permitted" in record.getMessage()
    device.error = None
    run(replays, network, 5, 2 * SIGHTS)
    assert device.captures == 0
    run(replays, other, 5, SIGHTS)
    assert replays.count == 1


@pytest.mark.parametrize("error", [SHORTAGE, MemoryError(), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_where_memory_runs_out_while_capturing_all_graphs_go(network: Doubling, error: Exception) -> None:
    device = FakeDevice()
    replays = Replays(device)
    run(replays, network, 4, SIGHTS + CHECKS)
    device.error = error
    run(replays, network, 5, 2 * SIGHTS)
    assert (replays.count, device.releases) == (0, 1)
    device.error = None
    run(replays, network, 4, 2 * SIGHTS)
    assert device.captures == 1


def test_a_replay_that_fails_is_run_without(network: Doubling) -> None:
    device = FakeDevice()
    replays = Replays(device)
    run(replays, network, times=SIGHTS + CHECKS)

    def fail(made: Tensor) -> None:
        raise RuntimeError("launch failed")

    device.spoil = fail
    run(replays, network, times=3)
    assert replays.count == 0


def test_what_is_wrong_with_the_network_is_raised(network: Doubling) -> None:
    """Memory too: whoever divides batches has to hear of it."""
    replays = Replays(FakeDevice())

    def short(x: Tensor) -> Tensors:
        raise SHORTAGE

    with torch.inference_mode():
        for _ in range(2 * SIGHTS):
            with pytest.raises(torch.OutOfMemoryError):
                replays.run(network, short, (torch.ones(3),))


def test_two_at_once_do_not_share_a_graph(network: Doubling) -> None:
    device = FakeDevice()
    replays = Replays(device)
    run(replays, network, times=SIGHTS + CHECKS)
    inside, go_on = threading.Event(), threading.Event()

    def wait(made: Tensor) -> None:
        inside.set()
        assert go_on.wait(10)

    device.spoil = wait
    first = threading.Thread(target=run, args=(replays, network))
    first.start()
    assert inside.wait(10)
    before = device.replays
    run(replays, network)
    assert device.replays == before
    go_on.set()
    first.join(10)
    assert replays.count == 1


# --- bundles ------------------------------------------------------------------------------------------------


def replayed(bundle: Bundle, device: FakeDevice, precision: Precision = Precision.FLOAT32) -> Bundle:
    """As :meth:`Bundle.ready_on` makes it on a GPU, with models that are ready here."""
    own = bundle.on(CPU).ready_on(CPU, precision)
    replays = Replays(device)
    separator, score_net = ReplayedSeparator(own.separator, replays), ReplayedScoreNet(own.score_net, replays)
    return replace(own, separator=separator, score_net=score_net, replays=replays)


def pieces(count: int) -> list[Piece]:
    signal = talk(count * SEGMENT / 16_000)[0].reshape(count, SEGMENT)
    return [Piece(row.copy(), SEGMENT, 100 + index) for index, row in enumerate(signal)]


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_a_run_with_graphs_equals_one_without(bundle: Bundle, precision: Precision) -> None:
    device = FakeDevice()
    settings = replace(short_settings(bundle, skip_silence=False), precision=precision)
    ready = replayed(bundle, device, precision)
    with_graphs, without = (Enhancer(each, settings, CPU) for each in (ready, bundle.on(CPU)))
    for _ in range(SIGHTS + CHECKS + 1):
        np.testing.assert_array_equal(with_graphs(pieces(2)), without(pieces(2)))
    assert ready.replays is not None
    assert (ready.replays.count, device.captures) == (2, 2)
    assert device.replays > 2 * CHECKS


def test_threads_of_a_device_share_its_graphs(bundle: Bundle) -> None:
    first = Enhancer(replayed(bundle, FakeDevice()), short_settings(bundle), CPU)
    assert first.sharing().bundle is first.bundle


def test_a_copy_on_another_device_has_no_graphs(bundle: Bundle) -> None:
    """It is what a segment for which a GPU has no memory is enhanced by."""
    ready = replayed(bundle, FakeDevice())
    copy = ready.on(CPU)
    assert copy.replays is None
    assert type(copy.separator) is Separator
    assert type(copy.score_net) is type(bundle.score_net)
    one, other = (Enhancer(each, short_settings(bundle), CPU)(pieces(1)) for each in (copy, bundle))
    np.testing.assert_array_equal(one, other)


def test_what_goes_through_is_counted_once(bundle: Bundle) -> None:
    ready = replayed(bundle, FakeDevice())
    counts = []
    for each in (ready, bundle):
        enhancer = Enhancer(each, short_settings(bundle, skip_silence=False), CPU)
        with counted_frames() as frames:
            for _ in range(SIGHTS + CHECKS):
                enhancer(pieces(1))
        counts.append({network: sum(calls) for network, calls in frames.items()})
    assert counts[0] == counts[1]
    assert count_macs(ready, CPU) == count_macs(bundle, CPU)


def test_a_batch_without_memory_is_tried_once_more_without_graphs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice()
    ready = replayed(bundle, device)
    enhancer = Enhancer(ready, short_settings(bundle), CPU)
    for _ in range(SIGHTS + 1):
        expected = enhancer(pieces(1))
    whole, tried = Enhancer._enhance, []

    def crowded(models: Enhancer, *given: Any) -> Any:
        tried.append(1)
        assert ready.replays is not None
        if ready.replays.count:
            raise SHORTAGE
        return whole(models, *given)

    monkeypatch.setattr(Enhancer, "_enhance", crowded)
    np.testing.assert_array_equal(enhancer(pieces(1)), expected)
    assert (len(tried), device.releases) == (2, 1)


def test_a_batch_that_has_no_memory_without_graphs_either_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = replayed(bundle, FakeDevice())
    enhancer = Enhancer(ready, short_settings(bundle), CPU)
    tried = []

    def full(models: Enhancer, *given: Any) -> Any:
        tried.append(1)
        raise SHORTAGE

    monkeypatch.setattr(Enhancer, "_enhance", full)
    with pytest.raises(torch.OutOfMemoryError):
        enhancer(pieces(1))
    assert len(tried) == 1
    monkeypatch.undo()
    for _ in range(SIGHTS + 1):  # That was no fault of graphs, which may still come.
        enhancer(pieces(1))
    assert ready.replays is not None
    assert ready.replays.count


@pytest.mark.parametrize("value", ["yes", "1", "on", " True "])
def test_the_environment_asks_for_graphs(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(Bundle, "to", lambda bundle, device: bundle)
    monkeypatch.setattr(bundle_module, "CudaDevice", lambda device: FakeDevice())
    for unwanted in ("", "no", "0"):
        monkeypatch.setenv(GRAPHS_VARIABLE, unwanted)
        assert not graphs_wanted()
        assert bundle.ready_on(GPU).replays is None
    monkeypatch.setenv(GRAPHS_VARIABLE, "ture")
    with pytest.raises(UsageError, match="EXDIFF_CUDA_GRAPHS=ture: give yes or no"):
        graphs_wanted()
    monkeypatch.setenv(GRAPHS_VARIABLE, value)
    assert graphs_wanted()
    ready = bundle.ready_on(GPU)
    assert isinstance(ready.separator, ReplayedSeparator)
    assert ready.ready_on(GPU) is ready
    assert not unknown_variables([GRAPHS_VARIABLE], {})
