"""Extraction by example: its mixtures, its encoder, and that it learns from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundles import EXTRACT
from safetensors.torch import load_file

from exdiff_cli.audio.spectral import LEVEL_RMS, SMALL, analyse, stft
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.by_example import ExampleEncoder, ExampleSeparator
from exdiff_cli.extract.resunet30 import ResUNet30Config
from exdiff_cli.extract.separator import Separator
from exdiff_cli.training import by_example as by_example_module
from exdiff_cli.training.by_example import ExampleTask, mix_with_examples
from exdiff_cli.training.mixing import Recipe, level_gain
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.trainer import Trainer, TrainOptions

RECIPE = Recipe(seconds=0.5)


def mixtures(audio: TrainingAudio, count: int = 8, step: int = 0) -> by_example_module.ExampleMixture:
    return mix_with_examples(audio.speech, audio.noise, RECIPE, count, seed=1, step=step)


def test_mixtures_follow_from_their_arguments(training_audio: TrainingAudio) -> None:
    first, again, other = (mixtures(training_audio, step=step) for step in (3, 3, 4))
    assert torch.equal(first.mixture, again.mixture)
    assert torch.equal(first.example, again.example)
    assert not torch.equal(first.mixture, other.mixture)


def test_mixtures_are_levelled_and_hold_their_target(training_audio: TrainingAudio) -> None:
    batch = mixtures(training_audio, 16)
    for signal in (batch.mixture, batch.target, batch.example):
        assert signal.shape == (16, RECIPE.samples)
        assert signal.isfinite().all()
    level = batch.mixture.square().mean(-1).sqrt()
    torch.testing.assert_close(level, torch.full((16,), LEVEL_RMS), atol=1e-5, rtol=1e-4)
    shares = (batch.mixture * batch.target).sum(-1) / batch.target.square().sum(-1).clamp_min(1e-9)
    heard = batch.target.square().mean(-1) > 1e-8
    assert (shares[heard] - 1).abs().median() < 0.3


def test_examples_sound_like_their_targets(training_audio: TrainingAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A noise's long-term spectrum is nearer to its own example's than to those of most other rows."""
    monkeypatch.setattr(by_example_module, "VOICE_SHARE", 0.0)
    recipe = replace(RECIPE, seconds=2.0)
    batch = mix_with_examples(training_audio.speech, training_audio.noise, recipe, 12, 1, 0)
    targets, examples = (
        stft(wave, SMALL).abs().square().mean(-1).add(1e-7).log()
        for wave in (batch.target * level_gain(batch.target), batch.example)
    )
    distances = (targets[:, None] - examples[None]).square().mean(-1)
    nearer = (distances < distances.diagonal()[:, None]).sum(-1)
    assert nearer.float().mean() < 2


def test_talk_is_asked_for_by_talk(training_audio: TrainingAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(by_example_module, "VOICE_SHARE", share)
        batches.append(mixtures(training_audio))
    noise, talk = batches
    assert torch.equal(noise.mixture, talk.mixture)
    # What is asked for is one or the other, and together they are no more than the mixture holds.
    assert (noise.target * talk.target).sum(-1).abs().max() < 0.5 * LEVEL_RMS**2 * RECIPE.samples


def test_an_embedding_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    encoder = ExampleEncoder(6)
    examples = analyse(0.05 * torch.randn(3, 16_000), SMALL)
    together = encoder(examples)
    assert together.shape == (3, 6)
    torch.testing.assert_close(encoder(examples[1:2]), together[1:2])
    assert not torch.allclose(together[0], together[1], atol=1e-4)


def test_begins_as_the_separators_noise_query(tiny_separator: Separator) -> None:
    asked = ExampleSeparator(EXTRACT)
    asked.begin_from(tiny_separator)
    mixture, example = (analyse(0.05 * torch.randn(2, 8000), SMALL) for _ in range(2))
    noise = torch.full((2,), tiny_separator.queries.index("noise"))
    with torch.no_grad():
        expected = tiny_separator(mixture, noise).estimate
        torch.testing.assert_close(asked(mixture, asked.encoder(example)).estimate, expected)


def test_a_few_steps_lower_the_loss(
    tiny_separator: Separator, training_audio: TrainingAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    task = ExampleTask(tiny_separator)
    batch = mixtures(training_audio, 2)
    monkeypatch.setattr(task, "draw", lambda *_: batch)
    options = TrainOptions(tmp_path / "run", max_time=60.0, warmup_steps=1, learning_rate=0.01, validation_mixtures=3)
    trainer = Trainer(task, training_audio, options)
    before = task.loss(batch, 1, 0.0).item()
    for _ in range(15):
        trainer.train_step()
    assert task.loss(batch, 1, 0.0).item() < before - 0.1
    assert all(parameter.grad is not None for parameter in task.model.parameters())
    measures = trainer.validate()
    assert measures["score"] == measures["si_sdr"]
    assert {"mixture_si_sdr", "wrong_si_sdr"} < set(measures)
    ExampleSeparator(EXTRACT).load_state_dict(load_file(tmp_path / "run" / "best.safetensors"))


def test_begins_from_a_small_separator_only() -> None:
    base = Separator(ResUNet30Config(channels=(4, 4, 4, 4, 4, 4), query_size=4))
    with pytest.raises(UsageError, match="preset base"):
        ExampleTask(base)
