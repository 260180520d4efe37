"""What a GPU must not change: results, however much memory there is for them, and training that goes on.

Not run where there is none; by hand: ``pytest tests/test_cuda.py`` on a machine with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
from bundles import SEGMENT, short_settings
from recordings import samples_of, store, talk

from exdiff_cli import cuda_graph
from exdiff_cli.bundle import Bundle
from exdiff_cli.commands.options import choose_devices
from exdiff_cli.config import GRAPHS_VARIABLE
from exdiff_cli.cuda_graph import CHECKS, SIGHTS, CudaDevice, Replays
from exdiff_cli.diffuse.generate import seeded_noise
from exdiff_cli.diffuse.score_net import ScoreNet
from exdiff_cli.engine import enhance_all
from exdiff_cli.enhancer import MODEL_STAGES, Enhancer, Piece, Samples
from exdiff_cli.errors import ExitCode, UsageError
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.extract.separator import Separator
from exdiff_cli.placement import GPU_THREADS, Placement, fitting_batch
from exdiff_cli.settings import GPU_BATCH, MEASURED, Precision, Resources, Settings
from exdiff_cli.training.diffuse import DiffuseTask
from exdiff_cli.training.extract import ExtractTask
from exdiff_cli.training.mixing import Recipe
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.trainer import Task, Trainer, TrainOptions

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = "cuda"
STEPS = 3


def pieces(count: int) -> list[Piece]:
    signal = talk(count * SEGMENT / 16_000)[0].reshape(count, SEGMENT)
    return [Piece(row.copy(), SEGMENT, 100 + index) for index, row in enumerate(signal)]


def enhance(bundle: Bundle, given: list[Piece], device: str = GPU) -> list[Samples]:
    try:
        return Enhancer(bundle, short_settings(bundle), torch.device(device))(given)
    finally:
        bundle.to(torch.device("cpu"))


def test_a_gpu_gives_what_a_cpu_gives(bundle: Bundle) -> None:
    np.testing.assert_allclose(enhance(bundle, pieces(2)), enhance(bundle, pieces(2), "cpu"), rtol=0, atol=1e-3)


def test_a_result_does_not_depend_on_its_batch(bundle: Bundle) -> None:
    together = enhance(bundle, pieces(16))
    alone = [enhance(bundle, [piece])[0] for piece in pieces(16)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)


# --- precision, copies and memory ---------------------------------------------------------------------------


@pytest.fixture
def on_gpu(bundle: Bundle) -> Iterator[Bundle]:
    """A copy, so that other tests find theirs on the CPU."""
    yield bundle.on(torch.device("cpu"))
    torch.cuda.empty_cache()


@pytest.fixture
def little_memory() -> Iterator[Any]:
    """Sets the share of the GPU's memory that this process may take."""
    yield torch.cuda.set_per_process_memory_fraction
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_bfloat16_is_near_float32(on_gpu: Bundle) -> None:
    settings = short_settings(on_gpu)
    exact = Enhancer(on_gpu, settings, torch.device("cuda:0"))(pieces(4))
    half = replace(settings, precision=Precision.BFLOAT16)
    rough = Enhancer(on_gpu.on(torch.device("cuda:0")), half, torch.device("cuda:0"))(pieces(4))
    assert np.isfinite(rough).all()
    assert 0 < np.abs(np.array(rough) - exact).max() < 0.05 * np.abs(exact).max()


def test_results_come_back_from_pinned_copies_in_their_own_memory(on_gpu: Bundle) -> None:
    """A copy that is still under way, or memory that is used again, would show in a result of an earlier batch."""
    enhancer = Enhancer(on_gpu, short_settings(on_gpu), torch.device("cuda:0"))
    found = [enhancer([piece])[0] for piece in pieces(8)]
    kept = [result.copy() for result in found]
    enhancer(pieces(16))
    np.testing.assert_array_equal(found, kept)
    np.testing.assert_allclose(found, [enhancer([piece])[0] for piece in pieces(8)], rtol=0, atol=1e-4)


def test_a_batch_fits_the_memory_that_there_is(on_gpu: Bundle) -> None:
    enhancer = Enhancer(on_gpu, short_settings(on_gpu), torch.device("cuda:0"))
    size = fitting_batch(enhancer)
    assert 1 <= size <= GPU_BATCH
    enhancer(pieces(size))


def test_a_batch_that_is_too_large_for_the_gpu_is_halved(on_gpu: Bundle, little_memory: Any) -> None:
    device, count = torch.device("cuda:0"), 64
    enhancer = Enhancer(on_gpu, short_settings(on_gpu, skip_silence=False), device)
    given = pieces(count)
    torch.cuda.reset_peak_memory_stats(device)
    expected = enhancer(given)
    peak, total = torch.cuda.max_memory_reserved(device), torch.cuda.mem_get_info(device)[1]
    torch.cuda.empty_cache()
    little_memory(0.4 * peak / total)
    with pytest.raises(torch.OutOfMemoryError):
        enhancer(given)
    placed = Placement(on_gpu, enhancer.settings, Resources("cuda", batch=count))
    ((_, made),) = placed.enhance([given], lambda piece: piece, lambda: False)
    results = [getattr(result, "samples", None) for result in made.results]
    np.testing.assert_allclose(results, expected, rtol=0, atol=1e-4)  # type: ignore[arg-type]


def test_what_no_gpu_has_memory_for_is_enhanced_on_the_cpu(on_gpu: Bundle, little_memory: Any) -> None:
    expected = enhance(on_gpu, pieces(2), "cpu")
    placed = Placement(on_gpu, short_settings(on_gpu), Resources("cuda", batch=2))
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    little_memory((torch.cuda.memory_reserved() + (1 << 21)) / total)
    ((_, made),) = placed.enhance([pieces(2)], lambda piece: piece, lambda: False)
    results = [getattr(result, "samples", None) for result in made.results]
    np.testing.assert_allclose(results, expected, rtol=0, atol=1e-3)  # type: ignore[arg-type]


# --- CUDA graphs --------------------------------------------------------------------------------------------


@pytest.fixture
def always_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of this size may be as fast without: what is tested are results."""
    monkeypatch.setenv(GRAPHS_VARIABLE, "yes")
    monkeypatch.setattr(cuda_graph, "WORTH", float("inf"))


def without_graphs(bundle: Bundle, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Enhancer:
    with monkeypatch.context() as patched:
        patched.setenv(GRAPHS_VARIABLE, "no")
        return Enhancer(bundle.on(torch.device("cuda:0")), settings, torch.device("cuda:0"))


@pytest.mark.usefixtures("always_replayed")
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_replays_equal_the_networks(
    on_gpu: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, precision: Precision
) -> None:
    settings = replace(short_settings(on_gpu, skip_silence=False), precision=precision)
    plain = without_graphs(on_gpu, settings, monkeypatch)
    replayed = Enhancer(on_gpu, settings, torch.device("cuda:0"))
    tolerance = 1e-5 if precision is Precision.FLOAT32 else 5e-3
    for number in range(SIGHTS + CHECKS + 3):
        given = [replace(piece, samples=np.roll(piece.samples, 1000 * number)) for piece in pieces(4)]
        np.testing.assert_allclose(replayed(given), plain(given), rtol=0, atol=tolerance)
    assert plain.bundle.replays is None
    assert replayed.bundle.replays is not None
    assert replayed.bundle.replays.count == 2
    assert not caplog.records


@pytest.mark.usefixtures("always_replayed")
def test_a_run_with_graphs_equals_one_without(
    on_gpu: Bundle, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several threads, several lengths, and what is left over at the end."""
    for number in range(8):
        store(tmp_path / "in" / f"{number}.wav", 1.3 + 1.4 * number, channels=1 + number % 2)
    resources = replace(Resources.on("cuda:0", None, threads=4), batch=3)
    settings = short_settings(bundle)
    found = enhance_all([tmp_path / "in"], tmp_path / "with", on_gpu, settings, resources)
    monkeypatch.setenv(GRAPHS_VARIABLE, "no")
    plain = bundle.on(torch.device("cpu"))
    expected = enhance_all([tmp_path / "in"], tmp_path / "without", plain, settings, resources)
    assert (expected.exit_code, found.exit_code, found.done_count) == (ExitCode.OK, ExitCode.OK, 8)
    for path in sorted(expected.output.glob("*.wav")):
        np.testing.assert_allclose(samples_of(path), samples_of(found.output / path.name), rtol=0, atol=1e-4)


@pytest.mark.usefixtures("always_replayed")
def test_graphs_give_their_memory_back(on_gpu: Bundle) -> None:
    device = torch.device("cuda:0")
    enhancer = Enhancer(on_gpu, short_settings(on_gpu, skip_silence=False), device)
    for _ in range(SIGHTS + CHECKS):
        expected = enhancer(pieces(32))
    replays = enhancer.bundle.replays
    assert replays is not None
    assert replays.count
    held = torch.cuda.memory_reserved(device)
    assert replays.release()
    assert replays.count == 0
    assert torch.cuda.memory_reserved(device) < held
    np.testing.assert_allclose(enhancer(pieces(32)), expected, rtol=0, atol=1e-4)


@pytest.mark.usefixtures("always_replayed")
def test_where_there_is_no_memory_to_capture_nothing_is_lost(on_gpu: Bundle, little_memory: Any) -> None:
    device = torch.device("cuda:0")
    enhancer = Enhancer(on_gpu, short_settings(on_gpu, skip_silence=False), device)
    torch.cuda.reset_peak_memory_stats(device)
    expected = enhancer(pieces(32))
    peak, total = torch.cuda.max_memory_reserved(device), torch.cuda.mem_get_info(device)[1]
    little_memory(1.1 * peak / total)
    for _ in range(SIGHTS + CHECKS):
        np.testing.assert_allclose(enhancer(pieces(32)), expected, rtol=0, atol=1e-4)


def test_a_capture_that_fails_leaves_the_device_as_it_was(on_gpu: Bundle) -> None:
    """What waits for the device cannot be captured."""
    device = torch.device("cuda:0")
    replays, layer = Replays(CudaDevice(device)), torch.nn.Linear(8, 8).to(device)
    stream = torch.cuda.current_stream(device)

    def waits(x: torch.Tensor) -> tuple[torch.Tensor]:
        made = layer(x)
        return (made * float(made.abs().max()),)

    with torch.inference_mode():
        for number in range(2 * SIGHTS):
            x = torch.full((4, 8), float(number + 1), device=device)
            torch.testing.assert_close(replays.run(layer, waits, (x,)), waits(x))
    assert replays.count == 0
    assert torch.cuda.current_stream(device) == stream
    enhancer = Enhancer(on_gpu, short_settings(on_gpu), device)
    for _ in range(SIGHTS + CHECKS + 1):
        found = enhancer(pieces(2))
    np.testing.assert_allclose(found, enhance(on_gpu.on(torch.device("cpu")), pieces(2), "cpu"), rtol=0, atol=1e-3)


def test_stages_are_timed_on_the_device(on_gpu: Bundle) -> None:
    enhancer = Enhancer(on_gpu, short_settings(on_gpu), torch.device("cuda:0"))
    began = perf_counter()
    enhancer(pieces(8))
    whole = perf_counter() - began
    assert all(enhancer.seconds[stage] > 0 for stage in MODEL_STAGES)
    assert sum(enhancer.seconds.values()) <= 1.01 * whole


def test_noise_is_the_same_on_every_device() -> None:
    on_cpu, on_gpu = (seeded_noise([1, 2], (256, 70), torch.device(name)) for name in ("cpu", GPU))
    for index in (1, 0, 0):
        assert torch.equal(on_gpu(index).cpu(), on_cpu(index))


# --- devices ------------------------------------------------------------------------------------------------


def test_a_list_of_devices_is_taken() -> None:
    assert choose_devices("cuda:0") == "cuda:0"
    assert choose_devices("auto") == "cuda"
    with pytest.raises(UsageError, match="names a GPU twice"):
        choose_devices("cuda,cuda:0")
    with pytest.raises(UsageError, match="is not available here; use cpu or cuda:0"):
        choose_devices(f"cuda:0,cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize("batch", [MEASURED, 3])
def test_a_run_on_every_gpu_gives_what_a_cpu_gives(on_gpu: Bundle, bundle: Bundle, tmp_path: Path, batch: int) -> None:
    for number in range(6):
        store(tmp_path / "in" / f"{number}.wav", 1.3 + 1.4 * number, channels=1 + number % 2)
    gpus = ",".join(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    settings = short_settings(bundle)
    expected = enhance_all([tmp_path / "in"], tmp_path / "cpu", bundle.on(torch.device("cpu")), settings, Resources())
    found = enhance_all(
        [tmp_path / "in"], tmp_path / "gpu", on_gpu, settings, replace(Resources.on(gpus, None, threads=2), batch=batch)
    )
    assert (expected.exit_code, found.exit_code, found.done_count) == (ExitCode.OK, ExitCode.OK, 6)
    for path in sorted(expected.output.glob("*.wav")):
        np.testing.assert_allclose(samples_of(path), samples_of(found.output / path.name), rtol=0, atol=1e-3)


def test_each_gpu_has_its_threads(on_gpu: Bundle) -> None:
    assert len(Placement(on_gpu, short_settings(on_gpu), Resources("cuda:0", 4))._workers) == GPU_THREADS


# --- training -----------------------------------------------------------------------------------------------


def small_extract() -> Task:
    torch.manual_seed(0)
    return ExtractTask(ResUNetConfig((8, 8, 8, 8, 8), 8, 1))


def trainer(task: Task, audio: TrainingAudio, out: Path, resume: bool = False) -> Trainer:
    recipe = Recipe(seconds=0.5)
    options = TrainOptions(out, 60, resume, batch=4, device=GPU, bf16=True, validation_mixtures=2, recipe=recipe)
    return Trainer(task, audio, options)


def test_extract_learns_and_goes_on_where_it_stopped(training_audio: TrainingAudio, tmp_path: Path) -> None:
    whole = trainer(small_extract(), training_audio, tmp_path / "whole")
    losses = [whole.train_step() for _ in range(2 * STEPS)]
    begun = trainer(small_extract(), training_audio, tmp_path / "parts")
    first = [begun.train_step() for _ in range(STEPS)]
    begun.save()
    resumed = trainer(small_extract(), training_audio, tmp_path / "parts", resume=True)
    assert resumed.step == STEPS
    assert [*first, *(resumed.train_step() for _ in range(STEPS))] == pytest.approx(losses, rel=0.02)
    assert all(np.isfinite(losses))


def test_diffuse_learns_and_is_validated(
    training_audio: TrainingAudio, tiny_separator: Separator, tiny_score_net: ScoreNet, tmp_path: Path
) -> None:
    task = DiffuseTask(tiny_separator, config=tiny_score_net.config)
    run = trainer(task, training_audio, tmp_path)
    run.elapsed = 30.0  # Half of the time: states come from the sampler too.
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    assert all(np.isfinite([run.train_step() for _ in range(2 * STEPS)]))
    assert any(not torch.equal(before[name], value) for name, value in task.model.state_dict().items())
    measures = run.validate()
    assert np.isfinite(list(measures.values())).all()
