"""Where batches run: nothing is lost where memory runs out, and no result depends on how many devices there are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

import numpy as np
import pytest
import torch
from bundles import SEGMENT, short_settings
from recordings import cut_off, samples_of, store, talk

from exdiff_cli import no_harm, placement
from exdiff_cli.audio.recording import Samples
from exdiff_cli.bundle import Bundle
from exdiff_cli.engine import PUBLISH_BACKLOG, Listener, Outcome, RunOptions, RunResult, enhance_all
from exdiff_cli.enhancer import Enhanced, Enhancer, Piece
from exdiff_cli.errors import ExitCode
from exdiff_cli.manifest import Manifest, State
from exdiff_cli.measures.dnsmos import DnsmosScore
from exdiff_cli.memory import is_out_of_memory
from exdiff_cli.placement import Batch, Limit, NoMemoryError, Placement, Worker, batch_for
from exdiff_cli.report import build
from exdiff_cli.settings import GPU_BATCH, OnRisk, Precision, Resources
from exdiff_cli.stopping import Stop
from exdiff_cli.stream import RecordingStream

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
A_CPU_ALLOCATION = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError("no room"),
    RuntimeError(A_CPU_ALLOCATION),
    RuntimeError("could not create a primitive"),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Of torch in every thread, as in a run: how many there are changes rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick:
        def score(self, windows: list[Any]) -> list[DnsmosScore]:
            return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(build, "Dnsmos", Quick)


def pieces(count: int) -> list[Piece]:
    return [Piece(np.full(4, index, np.float32), 4, index) for index in range(count)]


@dataclass
class Device:
    """Models that take memory for ``room`` segments at a time, and none for seeds that are ``too_large``."""

    room: int
    too_large: frozenset[int] = frozenset()
    device: torch.device = GPU
    error: Exception = SHORTAGES[0]
    seconds: dict[str, float] = field(default_factory=lambda: {"extract": 0.0})
    tried: list[int] = field(default_factory=list)

    def enhance(self, given: Sequence[Piece]) -> list[Enhanced]:
        self.tried.append(len(given))
        self.seconds["extract"] += len(given)
        if len(given) > self.room or any(piece.seed in self.too_large for piece in given):
            raise self.error
        return [Enhanced(2 * piece.samples) for piece in given]


def samples(batch: Batch) -> list[Samples]:
    assert all(isinstance(result, Enhanced) for result in batch.results)
    return [result.samples for result in batch.results if isinstance(result, Enhanced)]


# --- too little memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", SHORTAGES)
@pytest.mark.parametrize("room", [1, 3, 5, 16])
def test_a_batch_that_is_too_large_is_tried_in_halves(room: int, error: Exception) -> None:
    device = Device(room, error=error)
    made = Worker(device).enhance(pieces(16))
    np.testing.assert_array_equal(samples(made), samples(Worker(Device(16)).enhance(pieces(16))))
    assert made.seconds == device.seconds


def test_later_batches_keep_the_smaller_size_and_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(room=5)
    worker = Worker(device)
    worker.enhance(pieces(16))
    assert device.tried == [16, 8, 4, 4, 4, 4]
    device.tried.clear()
    worker.enhance(pieces(16))
    assert device.tried == [4, 4, 4, 4]
    assert [record.getMessage() for record in caplog.records] == [
        "cuda:0: too little memory for larger batches; give --batch 4"
    ]


def test_all_threads_of_a_device_learn_of_its_limit() -> None:
    limit, second = Limit(), Device(room=100)
    Worker(Device(room=2), limit).enhance(pieces(8))
    Worker(second, limit).enhance(pieces(8))
    assert second.tried == [2, 2, 2, 2]


def test_a_batch_from_before_the_limit_was_known_does_not_raise_it() -> None:
    limit = Limit(size=2)
    limit.halve(8)
    assert limit.size == 2


def test_what_is_too_much_alone_goes_to_the_cpu() -> None:
    device, last = Device(room=16, too_large=frozenset({5})), Device(room=1, device=CPU)
    made = Worker(device, on_cpu=lambda: last).enhance(pieces(8))
    np.testing.assert_array_equal(samples(made), [2 * piece.samples for piece in pieces(8)])
    assert last.tried == [1]
    assert made.seconds == {"extract": device.seconds["extract"] + 1}


def test_the_models_on_the_cpu_are_made_once(caplog: pytest.LogCaptureFixture) -> None:
    made: list[Device] = []

    def on_cpu() -> Device:
        made.append(Device(room=1, device=CPU))
        return made[-1]

    worker = Worker(Device(room=0), on_cpu=on_cpu)
    worker.enhance(pieces(3))
    worker.enhance(pieces(3))
    assert [device.tried for device in made] == [[1] * 6]


def test_what_is_too_much_there_too_comes_back_as_an_error_and_the_others_as_they_are() -> None:
    device, last = Device(room=4, too_large=frozenset({5})), Device(room=0, device=CPU, error=MemoryError())
    results = Worker(device, on_cpu=lambda: last).enhance(pieces(8)).results
    assert [isinstance(result, NoMemoryError) for result in results] == [index == 5 for index in range(8)]
    assert str(results[5]) == "MemoryError"


@pytest.mark.parametrize("error", [ValueError("bad"), RuntimeError("CUDA error: device-side assert triggered")])
def test_whatever_else_is_wrong_is_raised(error: Exception) -> None:
    device = Device(room=0, error=error)
    with pytest.raises(type(error), match=str(error)):
        Worker(device).enhance(pieces(4))
    assert device.tried == [4]
    assert not is_out_of_memory(error)


def test_a_cpu_that_is_out_of_memory_has_no_other_to_go_to(bundle: Bundle) -> None:
    """On a GPU there is: models of the same weights, on the CPU."""
    enhancer = Enhancer(bundle, short_settings(bundle), CPU)
    (worker,) = placement._workers(enhancer, 1)
    assert worker._on_cpu is None
    elsewhere = replace(enhancer)
    elsewhere.device = torch.device("cuda:0")
    on_cpu = placement.worker(elsewhere)._on_cpu
    assert on_cpu is not None
    assert on_cpu().device == CPU
    (piece,) = segments(1)
    np.testing.assert_array_equal(on_cpu().enhance([piece])[0].samples, enhancer.enhance([piece])[0].samples)


@pytest.mark.parametrize(
    ("free", "cost", "expected"),
    [(10 << 30, 1 << 30, 8), (1 << 30, 1 << 30, 1), (0, 1, 1), (80 << 30, 1 << 20, GPU_BATCH), (5, 0, 4)],
)
def test_a_batch_takes_what_memory_is_free(free: int, cost: int, expected: int) -> None:
    assert batch_for(free, cost) == expected


def test_a_gpu_is_measured_by_one_segment(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of CUDA's memory: this machine's own models stand for those on the GPU."""
    enhancer = Enhancer(bundle, short_settings(bundle), CPU)
    enhance: Callable[..., Any] = Enhancer.enhance
    seen: list[tuple[int, bool]] = []

    def on_this_machine(models: Enhancer, given: Any) -> Any:
        seen.append((len(given[0].samples), models.settings.skip_silence))
        return enhance(enhancer, given)

    monkeypatch.setattr(Enhancer, "enhance", on_this_machine)
    monkeypatch.setattr(Enhancer, "__post_init__", lambda models: None)
    for name, value in {
        "reset_peak_memory_stats": None,
        "memory_allocated": 100,
        "max_memory_allocated": 350,
        "mem_get_info": (3000, 9000),
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    on_gpu = replace(enhancer, device=torch.device("cuda:0"))
    assert placement.fitting_batch(on_gpu) == int(0.8 * 3000 / 250)
    assert seen == [(SEGMENT, False)]
    assert placement.fitting_batch(enhancer) == 1


# --- several devices ----------------------------------------------------------------------------------------


def segments(count: int) -> list[Piece]:
    signal = talk(count * SEGMENT / 16_000)[0].reshape(count, SEGMENT)
    return [Piece(row.copy(), SEGMENT, 100 + index) for index, row in enumerate(signal)]


def test_another_copy_of_the_bundle_gives_the_same_bits(bundle: Bundle) -> None:
    settings, given = short_settings(bundle), segments(2)
    copy = bundle.on(CPU)
    assert copy.separator is not bundle.separator
    assert copy.score_net is not bundle.score_net
    assert (copy.name, copy.weights_sha256) == (bundle.name, bundle.weights_sha256)
    one, other = (Enhancer(each, settings, CPU)(given) for each in (bundle, copy))
    np.testing.assert_array_equal(one, other)


def test_moving_a_copy_leaves_the_bundle_where_it_is(bundle: Bundle) -> None:
    copy = bundle.on(CPU)
    before = Enhancer(bundle, short_settings(bundle), CPU)(segments(1))
    copy.to(torch.device("meta"))
    assert {parameter.device for parameter in bundle.separator.parameters()} == {CPU}
    np.testing.assert_array_equal(Enhancer(bundle, short_settings(bundle), CPU)(segments(1)), before)


def test_batches_come_back_in_order_however_long_each_takes(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    second_is_done = threading.Event()
    threads: set[str] = set()

    def enhance(models: Enhancer, given: Any) -> list[Enhanced]:
        threads.add(threading.current_thread().name)
        if given[0].seed == 0:
            assert second_is_done.wait(10)
        if given[0].seed == 1:
            second_is_done.set()
        return [Enhanced(piece.samples) for piece in given]

    monkeypatch.setattr(Enhancer, "enhance", enhance)
    placed = Placement(bundle, short_settings(bundle), Resources("cpu,cpu"))
    given = [[piece] for piece in pieces(20)]
    found = [batch for batch, made in placed.enhance(given, lambda piece: piece, lambda: False)]
    assert found == given
    assert threads == {"device_0", "device_1"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("device")]


def test_an_empty_batch_waits_for_all_before_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run decodes nothing more until then: without it both would wait for ever."""
    monkeypatch.setattr(Enhancer, "enhance", lambda models, given: [Enhanced(piece.samples) for piece in given])
    placed = Placement(bundle, short_settings(bundle), Resources("cpu,cpu"))
    back: list[int] = []

    def batches() -> Iterator[list[Piece]]:
        for number, piece in enumerate(pieces(6)):
            yield [piece]
            yield []
            assert len(back) == number + 1

    for batch, _ in placed.enhance(batches(), lambda piece: piece, lambda: False):
        back.append(batch[0].seed)
    assert back == list(range(6))


def test_what_a_device_raises_is_raised_and_its_threads_end(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def enhance(models: Enhancer, given: Any) -> list[Enhanced]:
        raise ValueError("a fault of the models")

    monkeypatch.setattr(Enhancer, "enhance", enhance)
    placed = Placement(bundle, short_settings(bundle), Resources("cpu,cpu"))
    with pytest.raises(ValueError, match="a fault of the models"):
        list(placed.enhance([[piece] for piece in pieces(9)], lambda piece: piece, lambda: False))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("device")]


def test_one_cpu_has_no_thread_of_its_own(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[threading.Thread] = set()

    def enhance(models: Enhancer, given: Any) -> list[Enhanced]:
        threads.add(threading.current_thread())
        return [Enhanced(piece.samples) for piece in given]

    monkeypatch.setattr(Enhancer, "enhance", enhance)
    placed = Placement(bundle, short_settings(bundle), Resources())
    list(placed.enhance([[piece] for piece in pieces(3)], lambda piece: piece, lambda: False))
    assert threads == {threading.current_thread()}


def test_threads_that_share_a_device_have_it_in_turn(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: its memory is for one batch at a time, while another thread listens for speech."""
    inside, most = [], []
    whole: Callable[..., Any] = Enhancer._on_device

    def watched(models: Enhancer, *given: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        found = whole(models, *given)
        inside.pop()
        return found

    monkeypatch.setattr(Enhancer, "_on_device", watched)
    first = Enhancer(bundle, short_settings(bundle), CPU, turn=threading.Lock())
    given = segments(6)
    alone = [samples(Worker(first).enhance([piece])) for piece in given]
    found: dict[int, list[Samples]] = {}

    def run(models: Enhancer, mine: list[Piece]) -> None:
        found.update((piece.seed, samples(Worker(models).enhance([piece]))) for piece in mine)

    enhancers = (first, first.sharing(), first.sharing())
    assert len({id(each.seconds) for each in enhancers}) == 3
    threads = [threading.Thread(target=run, args=(each, given[start::3])) for start, each in enumerate(enhancers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(most) == 1
    np.testing.assert_array_equal([found[piece.seed] for piece in given], alone)


# --- precision ----------------------------------------------------------------------------------------------


def test_bfloat16_is_near_float32_and_as_long(bundle: Bundle) -> None:
    given = [*segments(2), replace(segments(1)[0], valid=9_000)]
    whole, half = (
        Enhancer(bundle, replace(short_settings(bundle), precision=precision), CPU)(given)
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    for exact, rough in zip(whole, half, strict=True):
        assert rough.dtype == np.float32
        assert rough.shape == exact.shape
        assert np.isfinite(rough).all()
        assert 0 < np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def test_channels_last_changes_rounding_alone(bundle: Bundle) -> None:
    """As networks in bfloat16 lie on a GPU."""
    turned = bundle.on(CPU)
    for model in (turned.separator, turned.score_net):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    one, other = (Enhancer(each, short_settings(each), CPU)(segments(2)) for each in (bundle, turned))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


# --- whole runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Recordings of several segments, mono and stereo."""
    for number in range(4):
        store(tmp_path / "calls" / f"{number}.wav", 1.3 + 1.4 * number, channels=1 + number % 2)
    return tmp_path / "calls"


def run(
    bundle: Bundle,
    calls: Path,
    resources: Resources,
    listener: Listener | None = None,
    options: Any = None,
    **changes: Any,
) -> RunResult:
    out = calls.parent / f"out{len(list(calls.parent.iterdir()))}"
    return enhance_all([calls], out, bundle, short_settings(bundle, **changes), resources, listener, options)


def states(out: Path) -> dict[str, State]:
    with Manifest.open(out, read_only=True) as manifest:
        return {row.relative.as_posix(): row.state for row in manifest.rows()}


def bytes_of(result: RunResult) -> dict[str, bytes]:
    assert (result.exit_code, result.failed) == (ExitCode.OK, [])
    return {path.name: path.read_bytes() for path in result.output.glob("*.wav")}


@pytest.mark.parametrize(
    "resources",
    [
        Resources(workers=3, publishers=2),
        Resources("cpu,cpu"),
        Resources("cpu,cpu,cpu", decoders=3, publishers=2),
        Resources(decoders=3),
        Resources(publishers=4),
    ],
    ids=str,
)
def test_results_are_the_same_to_the_bit(bundle: Bundle, calls: Path, resources: Resources) -> None:
    expected, found = (bytes_of(run(bundle, calls, each, kind="sde")) for each in (Resources(), resources))
    assert len(expected) == 4
    assert found == expected


def test_one_that_takes_long_to_publish_holds_no_other_up(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are more of the others than may wait to be published."""
    count = PUBLISH_BACKLOG + 4
    for number in range(count):
        store(tmp_path / "in" / f"{number:02}.wav", 0.2)
    others, ended = threading.Event(), list[Outcome]()
    whole: Callable[..., Any] = no_harm.complete

    def complete(stream: RecordingStream, *rest: Any) -> Any:
        if stream.job.relative.name == "00.wav":
            others.wait(30)
        return whole(stream, *rest)

    def note(outcome: Outcome) -> None:
        ended.append(outcome)
        if len(ended) == count - 1:
            others.set()

    monkeypatch.setattr("exdiff_cli.engine.complete", complete)
    result = run(bundle, tmp_path / "in", Resources(publishers=2), Listener(ended=note))
    assert others.is_set()
    assert (result.exit_code, result.done_count) == (ExitCode.OK, count)
    assert ended[-1].job.relative.name == "00.wav"


def test_larger_batches_on_several_devices_change_rounding_alone(bundle: Bundle, calls: Path) -> None:
    one, other = run(bundle, calls, Resources()), run(bundle, calls, Resources("cpu,cpu", 3, decoders=4))
    for path in one.output.glob("*.wav"):
        np.testing.assert_allclose(samples_of(path), samples_of(other.output / path.name), rtol=0, atol=1e-4)


def test_seconds_are_those_that_were_spent(bundle: Bundle, calls: Path) -> None:
    result = run(bundle, calls, Resources("cpu,cpu", decoders=2))
    for outcome in result.done:
        assert outcome.report is not None
        assert 0 < outcome.report.seconds["extract"] < result.seconds
        assert 0 < outcome.report.seconds["diffuse"] < result.seconds


@pytest.mark.parametrize("error", SHORTAGES)
@pytest.mark.parametrize("resources", [Resources(), Resources(batch=4), Resources("cpu,cpu", 3)], ids=str)
def test_a_recording_without_memory_fails_alone(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, resources: Resources
) -> None:
    for number in range(3):
        store(tmp_path / "calls" / f"{number}.wav", 1.5 + number, gain=0.2 + 0.2 * number)
    whole: Callable[..., Any] = Enhancer._of_one_length
    loudest = max(np.abs(samples_of(tmp_path / "calls" / "1.wav")).ravel())

    def enhance(models: Enhancer, given: Sequence[Piece], length: int) -> Any:
        if any(np.isclose(np.abs(piece.samples).max(), loudest, rtol=1e-3) for piece in given):
            raise error
        return whole(models, given, length)

    expected = run(bundle, tmp_path / "calls", Resources())
    monkeypatch.setattr(Enhancer, "_of_one_length", enhance)
    result = run(bundle, tmp_path / "calls", resources)
    assert result.exit_code == ExitCode.SOME_FAILED
    (failed,) = result.failed
    assert failed.job.source.name == "1.wav"
    assert failed.error is not None
    assert failed.error.startswith(f"{failed.job.source}: there is too little memory for one segment of it (")
    assert "\n" not in failed.error
    assert states(result.output) == {"0.wav": State.DONE, "1.wav": State.FAILED, "2.wav": State.DONE}
    for name in ("0.wav", "2.wav"):
        np.testing.assert_allclose(
            samples_of(result.output / name), samples_of(expected.output / name), rtol=0, atol=1e-4
        )


def test_a_batch_that_is_halved_in_a_run_gives_the_same(
    bundle: Bundle, calls: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = bytes_of(run(bundle, calls, Resources()))
    whole: Callable[..., Any] = Enhancer.enhance

    def enhance(models: Enhancer, given: Sequence[Piece]) -> Any:
        if len(given) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(models, given)

    monkeypatch.setattr(Enhancer, "enhance", enhance)
    caplog.set_level(logging.WARNING)
    assert bytes_of(run(bundle, calls, Resources(batch=16))) == expected
    assert caplog.text.count("give --batch 1") == 1


def test_memory_may_run_out_where_an_estimate_takes_the_place_of_a_result(
    bundle: Bundle, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is done beside the batches."""
    whole: Callable[..., Any] = Enhancer.enhance
    seen: list[int] = []

    def enhance(models: Enhancer, given: Sequence[Piece]) -> Any:
        if not models.settings.sampler.steps:
            seen.append(len(given))
            raise MemoryError("no room")
        return whole(models, given)

    monkeypatch.setattr(Enhancer, "enhance", enhance)
    monkeypatch.setattr(no_harm, "_fall", lambda report: 1.0)
    result = run(bundle, calls, Resources(), on_risk=OnRisk.FALLBACK)
    assert seen
    assert len(result.failed) == 4
    assert all("too little memory" in str(outcome.error) for outcome in result.failed)


@pytest.mark.parametrize(
    "resources", [Resources("cpu,cpu", decoders=3, publishers=2), Resources(workers=3, publishers=3)], ids=str
)
def test_a_signal_ends_a_run_on_several_devices(bundle: Bundle, calls: Path, resources: Resources) -> None:
    for number in range(4, 12):
        store(calls / f"{number}.wav", 1.5)
    stop = Stop()
    listener = Listener(ended=lambda outcome: stop.ask(SIGTERM))
    result = in_time(lambda: run(bundle, calls, resources, listener, RunOptions(stop)))
    assert result.done
    assert len(result.done) + result.left == 12
    assert list(states(result.output).values()).count(State.DONE) == len(result.done)


def test_when_time_is_up_several_devices_drop_what_they_have(bundle: Bundle, calls: Path) -> None:
    now = [100.0]

    def later(seconds: float) -> None:
        now[0] = 200.0

    stop = Stop(deadline=150.0, clock=lambda: now[0])
    resources = Resources("cpu,cpu", decoders=2)
    result = in_time(lambda: run(bundle, calls, resources, Listener(advanced=later), RunOptions(stop)))
    assert (result.done, result.left, result.exit_code) == ([], 4, ExitCode.DEADLINE)
    assert not list(result.output.rglob("*.wav"))


@pytest.mark.parametrize("decoders", [1, 3])
@pytest.mark.parametrize("batch", [1, 16])
def test_what_does_not_fit_at_first_is_looked_at_again(bundle: Bundle, calls: Path, decoders: int, batch: int) -> None:
    """Nothing more is decoded until what is in hand is done, which has to come out of a batch that is not full."""
    now = [100.0]

    def later(seconds: float) -> None:
        now[0] += 0.01 * seconds

    stop = Stop(deadline=104.0, clock=lambda: now[0])
    resources = Resources("cpu,cpu", batch, decoders)
    result = in_time(lambda: run(bundle, calls, resources, Listener(advanced=later), RunOptions(stop)))
    assert (len(result.done), result.left) == (4, 0)


def test_damaged_recordings_fail_alone_among_several_decoders(bundle: Bundle, calls: Path) -> None:
    cut_off(calls / "1.wav", 0.5)
    (calls / "bad.wav").write_text("no sound")
    result = run(bundle, calls, Resources("cpu,cpu", decoders=3, publishers=3))
    assert {"bad.wav"} <= {outcome.job.source.name for outcome in result.failed} <= {"bad.wav", "1.wav"}
    assert len(result.done) + len(result.failed) == 5


def test_outcomes_are_told_one_at_a_time(bundle: Bundle, calls: Path) -> None:
    for number in range(4, 10):
        store(calls / f"{number}.wav", 0.3)
    inside, most = [], []

    def ended(outcome: Outcome) -> None:
        inside.append(outcome)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()

    result = run(bundle, calls, Resources(publishers=4), Listener(ended=ended))
    assert (result.done_count, len(most), max(most)) == (10, 10, 1)


def in_time(work: Callable[[], RunResult]) -> RunResult:
    """What it gives; fails where that takes a minute, which can only be threads that wait for each other."""
    found: list[RunResult] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(60)
    assert found, "no end"
    return found[0]
