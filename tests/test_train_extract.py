"""What Extract learns: the queried source, from batches whose rows take turns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from exdiff_cli.audio.spectral import SMALL, analyse
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.extract.separator import Extraction, Separator
from exdiff_cli.training import trainer as trainer_module
from exdiff_cli.training.extract import ExtractTask, validation_measures
from exdiff_cli.training.hearing import heard_measures
from exdiff_cli.training.losses import separation_loss
from exdiff_cli.training.mixing import Mixture, Recipe, mix
from exdiff_cli.training.objective import Objective
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.trainer import Trainer, TrainOptions

TINY = ResUNetConfig(channels=(4, 4, 4, 4, 8), hidden=4, dual_path_blocks=1, query_size=4)
RECIPE = Recipe(seconds=0.5, noise_only_share=0.0)


def batch_of(audio: TrainingAudio, count: int = 2) -> Mixture:
    return mix(audio.speech, audio.noise, RECIPE, count, seed=1, step=0)


def task() -> ExtractTask:
    torch.manual_seed(0)
    return ExtractTask(TINY)


def test_a_few_steps_lower_the_loss(
    training_audio: TrainingAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(training_audio)
    monkeypatch.setattr(trainer_module, "mix", lambda *_: batch)
    options = TrainOptions(tmp_path / "run", max_time=60.0, warmup_steps=1, learning_rate=0.01)
    trainer = Trainer(task(), training_audio, options)
    before = trainer.task.loss(batch, 1, 0.0).item()
    for _ in range(15):
        trainer.train_step()
    assert trainer.task.loss(batch, 1, 0.0).item() < before - 0.1
    trainer.save()
    Separator(TINY).load_state_dict(load_file(tmp_path / "run" / "last.safetensors"))


def test_one_row_in_eight_is_asked_for_its_noise(
    training_audio: TrainingAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, queries = task(), []
    whole = learner.model.forward

    def noted(mixture: Tensor, query: Tensor) -> object:
        queries.append(query.tolist())
        return whole(mixture, query)

    monkeypatch.setattr(learner.model, "forward", noted)
    for step in (0, 3):
        learner.loss(batch_of(training_audio, 8), step, 0.0)
    assert queries == [[1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0]]


def test_the_query_names_the_target(training_audio: TrainingAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A separator that returns what is asked for has the lowest loss, and the other source a higher one."""
    learner, batch = task(), batch_of(training_audio)
    sources = [analyse(wave, SMALL) for wave in (batch.speech, batch.noise)]

    def oracle(mixture: Tensor, query: Tensor) -> Extraction:
        return Extraction(torch.where(query[:, None, None] == 0, sources[0], sources[1]), ())

    monkeypatch.setattr(learner.model, "forward", oracle)
    right = learner.loss(batch, 0, 0.0)
    torch.testing.assert_close(right, torch.tensor(-0.6), atol=1e-4, rtol=0)
    sources.reverse()
    assert learner.loss(batch, 0, 0.0) > right + 0.5


def test_gradient_is_finite_for_silent_targets(training_audio: TrainingAudio) -> None:
    learner, batch = task(), batch_of(training_audio)
    for silent in (
        Mixture(batch.mixture, torch.zeros_like(batch.speech)),
        Mixture(torch.zeros_like(batch.mixture), torch.zeros_like(batch.speech)),
    ):
        learner.model.zero_grad()
        learner.loss(silent, 0, 0.0).backward()  # type: ignore[no-untyped-call]
        for name, parameter in learner.model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_validation_measures(training_audio: TrainingAudio) -> None:
    batch = batch_of(training_audio)
    with torch.no_grad():
        measures = task().validate(batch)
    assert set(measures) == {"valid_loss", "si_sdr", "disturbance", "score"}
    assert measures["score"] == pytest.approx(0.02 * measures["si_sdr"] - 10 * measures["valid_loss"])
    perfect = validation_measures(analyse(batch.speech, SMALL), batch, SMALL, Objective())
    assert perfect["valid_loss"] < 1e-6
    assert perfect["si_sdr"] > 40
    assert perfect["disturbance"] < 0.01 < measures["disturbance"]
    assert perfect["score"] > measures["score"]


@pytest.mark.parametrize("objective", [Objective(), Objective(disturbance=0.5), Objective(loudness=0.5)])
def test_the_score_holds_what_is_learnt(training_audio: TrainingAudio, objective: Objective) -> None:
    """The validation measures of mixtures that all hold speech and the loss of the same estimate say the same."""
    batch = batch_of(training_audio)
    estimate, target = analyse(batch.mixture, SMALL), analyse(batch.speech, SMALL)
    loss = separation_loss(estimate, target, batch.speech, SMALL, objective)
    assert validation_measures(estimate, batch, SMALL, objective)["score"] == pytest.approx(-loss.item(), abs=1e-4)


@pytest.mark.eval
def test_chosen_by_ear_the_score_is_an_opinion(training_audio: TrainingAudio) -> None:
    batch = batch_of(training_audio)
    measures = {
        by_ear: validation_measures(analyse(batch.mixture, SMALL), batch, SMALL, Objective(by_ear=by_ear))
        for by_ear in (False, True)
    }
    heard = heard_measures(batch.mixture, batch.speech)
    assert measures[True]["score"] == pytest.approx(heard["score"], abs=0.02)
    assert measures[True]["valid_loss"] == measures[False]["valid_loss"]
    assert "pesq" not in measures[False]


def test_validation_without_speech_is_a_number(training_audio: TrainingAudio) -> None:
    batch = batch_of(training_audio)
    silent = Mixture(batch.mixture, torch.zeros_like(batch.speech))
    with torch.no_grad():
        measures = task().validate(silent)
    assert measures["score"] == -10 * measures["valid_loss"] < 0


def test_description_rebuilds_the_network() -> None:
    learner = ExtractTask(TINY)
    assert learner.description["model"] == "extract"
    assert ResUNetConfig(**learner.description["config"]) == TINY


def test_begins_from_a_shallower_separator(training_audio: TrainingAudio, tmp_path: Path) -> None:
    """The first measures are those of the shallower one."""
    shallow = Trainer(task(), training_audio, TrainOptions(tmp_path / "one", max_time=1.0, validation_mixtures=2))
    expected = shallow.validate()
    deep = ExtractTask(replace(TINY, dual_path_blocks=2))
    options = TrainOptions(
        tmp_path / "two", max_time=1.0, validation_mixtures=2, init=tmp_path / "one" / "best.safetensors"
    )
    assert Trainer(deep, training_audio, options).validate() == pytest.approx(expected, abs=1e-4)


def test_bfloat16_trains_every_weight(training_audio: TrainingAudio, tmp_path: Path) -> None:
    options = TrainOptions(tmp_path / "run", max_time=60.0, batch=2, warmup_steps=1, recipe=RECIPE)
    exact = Trainer(task(), training_audio, options).train_step()
    trainer = Trainer(task(), training_audio, replace(options, out=tmp_path / "bf16", bf16=True))
    before = {name: value.clone() for name, value in trainer.task.model.named_parameters()}
    losses = [trainer.train_step() for _ in range(3)]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[0] == pytest.approx(exact, rel=0.05)
    assert losses[0] != exact
    for name, value in trainer.task.model.named_parameters():
        assert not torch.equal(value, before[name]), name
        assert value.isfinite().all(), name
