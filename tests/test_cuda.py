"""What a GPU must not change: results, their independence of the batch, and training that goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import SEGMENT, short_settings
from recordings import talk

from exdiff_cli.bundle import Bundle
from exdiff_cli.diffuse.score_net import ScoreNet
from exdiff_cli.enhancer import Enhancer, Piece, Samples
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.extract.separator import Separator
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
