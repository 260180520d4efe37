"""What Diffuse learns from: bridge states, warm starts and the sampler's own, on a frozen separator."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bundles import DIFFUSE
from safetensors.torch import load_file
from torch import Tensor

from exdiff_cli.diffuse.generate import SamplerConfig
from exdiff_cli.diffuse.score_net import Condition, DataPredictor, ScoreNet, ScoreNetConfig
from exdiff_cli.diffuse.sde import Bridge
from exdiff_cli.extract.separator import Separator
from exdiff_cli.training import diffuse as diffuse_module
from exdiff_cli.training import trainer as trainer_module
from exdiff_cli.training.diffuse import ROLLOUT_FROM, DiffuseTask, sampler_config
from exdiff_cli.training.mixing import Mixture, Recipe, mix
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.trainer import Trainer, TrainOptions

RECIPE = Recipe(seconds=0.5, noise_only_share=0.0)
NOISELESS = SamplerConfig(noise_scale=1e-12)
"""A bridge without noise to speak of: its states are a plain blend of both ends."""


@pytest.fixture
def batch(training_audio: TrainingAudio) -> Mixture:
    return mix(training_audio.speech, training_audio.noise, RECIPE, 2, seed=1, step=0)


BLIND = replace(DIFFUSE, concatenate_estimate=False)


def task(
    separator: Separator,
    sampler: SamplerConfig | None = None,
    dropped: float = 0.1,
    config: ScoreNetConfig = DIFFUSE,
) -> DiffuseTask:
    torch.manual_seed(2)
    return DiffuseTask(separator, sampler, config, dropped)


def wake(net: DataPredictor) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def prepared(learner: DiffuseTask, batch: Mixture) -> tuple[Tensor, Condition]:
    mixture = learner.to_spectrum(batch.mixture)
    return learner.to_spectrum(batch.speech), learner.model.condition(mixture, learner.extract(mixture))


def only(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Draw the sampler's states alone, or none of them."""
    monkeypatch.setattr(diffuse_module, "ROLLOUT_SHARE", 1.0 if kind == "rollout" else 0.0)


@pytest.mark.parametrize("kind", ["bridge", "warm", "rollout", "ouve"])
def test_loss_and_gradient_are_finite(
    tiny_separator: Separator, batch: Mixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    only(monkeypatch, kind)
    process = sampler_config("ouve" if kind == "ouve" else "bridge", 0.002)
    learner = task(tiny_separator, process, config=BLIND if kind == "bridge" else DIFFUSE)
    wake(learner.model)
    silent = Mixture(batch.mixture, torch.zeros_like(batch.speech))
    for each in (batch, silent):
        learner.model.zero_grad()
        loss = learner.loss(each, step=3, progress=1.0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        for name, parameter in learner.model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    assert all(parameter.grad is None for parameter in tiny_separator.parameters())


def test_loss_is_a_function_of_its_step(tiny_separator: Separator, batch: Mixture) -> None:
    learner = task(tiny_separator, SamplerConfig(noise_scale=0.4))
    wake(learner.model)
    with torch.no_grad():
        first, again, other = (learner.loss(batch, step, 0.5).item() for step in (4, 4, 5))
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", ["bridge", "warm", "rollout"])
def test_states_are_made_of_the_right_end(
    tiny_separator: Separator, batch: Mixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Without noise a state is the bridge's mean, to the estimate or, where that is not shown, to the target."""
    only(monkeypatch, kind)
    monkeypatch.setattr(ScoreNet, "forward", lambda _, state, t, condition: condition.estimate)
    learner = task(tiny_separator, NOISELESS, config=BLIND if kind == "bridge" else DIFFUSE)
    target, condition = prepared(learner, batch)
    goal = target if kind == "bridge" else condition.estimate
    lowest = {"bridge": 0.02, "warm": 0.3, "rollout": 0.0}[kind]
    for seed in range(6):
        state, t = learner._draw_state(target, condition, 1.0, torch.Generator().manual_seed(seed))
        assert t.shape == (2,)
        assert lowest <= t.min()
        assert t.max() <= (0.5 if kind == "rollout" else 1.0)
        assert kind != "warm" or t[0] == learner.sampler.start
        torch.testing.assert_close(state, Bridge(c=1e-12).mean(goal, condition.mixture, t), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["bridge", "rollout"])
def test_states_hide_the_estimate_from_a_network_that_is_not_shown_it(
    tiny_separator: Separator, batch: Mixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    only(monkeypatch, kind)
    learner = task(tiny_separator, sampler_config("bridge", 0.002, estimate=False), config=BLIND)
    wake(learner.model)
    target, condition = prepared(learner, batch)
    other = replace(condition, estimate=2 * condition.estimate)
    for seed in range(4):
        drawn = [
            learner._draw_state(target, each, 1.0, torch.Generator().manual_seed(seed)) for each in (condition, other)
        ]
        assert torch.equal(drawn[0][0], drawn[1][0])


def test_sampler_states_come_late_in_training(
    tiny_separator: Separator, batch: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = task(tiny_separator)
    target, condition = prepared(learner, batch)
    drawn: list[int] = []

    def noted(*_: object) -> tuple[Tensor, Tensor]:
        drawn[-1] += 1
        return target, torch.ones(2)

    monkeypatch.setattr(learner, "_roll_out", noted)
    for progress in (0.0, ROLLOUT_FROM - 0.01, ROLLOUT_FROM, 1.0):
        drawn.append(0)
        for seed in range(40):
            learner._draw_state(target, condition, progress, torch.Generator().manual_seed(seed))
    assert drawn[:2] == [0, 0]
    assert all(8 < times < 24 for times in drawn[2:])


@pytest.mark.parametrize("start", [0.5, 1.0])
def test_roll_out_stops_on_the_way(tiny_separator: Separator, batch: Mixture, start: float) -> None:
    learner = task(tiny_separator, SamplerConfig(start=start, noise_scale=0.1))
    wake(learner.model)
    _, condition = prepared(learner, batch)
    times = set()
    for seed in range(24):
        state, t = learner._roll_out(condition, torch.Generator().manual_seed(seed))
        assert state.shape == condition.mixture.shape
        assert state.isfinite().all()
        assert not state.requires_grad
        assert (t == t[0]).all()
        assert 0 < t[0] < start
        times.add(round(4 * t[0].item() / start, 3))
    assert times == {1, 2, 3}  # Of two steps the second, of four all but the first.


def test_latents_are_dropped_by_their_share(
    tiny_separator: Separator, batch: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    for dropped in (0.0, 0.5, 1.0):
        learner = task(tiny_separator, dropped=dropped)
        whole = learner.model.condition

        def noted(mixture: Tensor, found: object, keep: Tensor, whole: object = whole) -> Condition:
            kept.extend(keep.tolist())
            return whole(mixture, found, keep)  # type: ignore[operator]

        monkeypatch.setattr(learner.model, "condition", noted)
        with torch.no_grad():
            for step in range(8):
                learner.loss(batch, step, 0.0)
    assert all(kept[:16])
    assert 2 < sum(kept[16:32]) < 14
    assert not any(kept[32:])


COMPARED = ("one_", "dropped_", "extract_")


@pytest.mark.parametrize("process", ["bridge", "ouve"])
def test_validation_compares_the_ways_to_use_the_network(
    tiny_separator: Separator, training_audio: TrainingAudio, monkeypatch: pytest.MonkeyPatch, process: str
) -> None:
    sampler = SamplerConfig(process="ouve" if process == "ouve" else "bridge", steps=2)
    learner = task(tiny_separator, sampler)
    batch = mix(training_audio.speech, training_audio.noise, replace(RECIPE, seconds=0.25), 10, seed=1, step=0)
    with torch.no_grad():
        with monkeypatch.context() as patch:
            patch.setattr(ScoreNet, "forward", lambda _, state, t, condition: condition.estimate)
            before = learner.validate(batch)
        wake(learner.model)
        after = learner.validate(batch)
    names = ("valid_loss", "si_sdr", "disturbance", "score")
    assert set(before) == {label + name for label in ("", *COMPARED, "few_") for name in names}
    assert all(value == value for value in after.values())
    assert after["extract_score"] == before["extract_score"]
    assert len({after[label + "score"] for label in ("", *COMPARED)}) == 4
    assert after["few_score"] == after["score"]  # As the batch is no larger than the few.
    if process == "bridge":
        assert before["score"] == pytest.approx(before["extract_score"], abs=1e-3)


def test_a_few_steps_lower_the_loss_and_leave_the_separator(
    tiny_separator: Separator, training_audio: TrainingAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = mix(training_audio.speech, training_audio.noise, RECIPE, 2, seed=1, step=0)
    monkeypatch.setattr(trainer_module, "mix", lambda *_: fixed)
    frozen = {name: value.clone() for name, value in tiny_separator.state_dict().items()}
    options = TrainOptions(tmp_path / "run", max_time=60.0, warmup_steps=1, learning_rate=0.01)
    trainer = Trainer(task(tiny_separator), training_audio, options)
    before = trainer.task.loss(fixed, 1, 0.0).item()
    for _ in range(12):
        trainer.train_step()
    assert trainer.task.loss(fixed, 1, 0.0).item() < before - 0.02
    assert all(torch.equal(value, frozen[name]) for name, value in tiny_separator.state_dict().items())
    trainer.save()
    ScoreNet(DIFFUSE).load_state_dict(load_file(tmp_path / "run" / "last.safetensors"))


def test_description_rebuilds_network_and_sampler(tiny_separator: Separator) -> None:
    sampler = SamplerConfig(noise_scale=0.02, steps=2)
    description = task(tiny_separator, sampler).description
    assert description["model"] == "diffuse"
    assert ScoreNetConfig(**description["config"]) == DIFFUSE
    assert SamplerConfig(**description["sampler"]) == sampler


def test_bfloat16_trains_every_weight(
    tiny_separator: Separator, training_audio: TrainingAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the sampler's own states, whose making runs in it too."""
    only(monkeypatch, "rollout")
    options = TrainOptions(tmp_path / "run", max_time=60.0, batch=2, warmup_steps=1, recipe=RECIPE)
    losses = {}
    for bf16 in (False, True):
        learner = task(tiny_separator)
        before = {name: value.clone() for name, value in learner.model.named_parameters()}
        trainer = Trainer(learner, training_audio, replace(options, out=tmp_path / str(bf16), bf16=bf16))
        trainer.elapsed = 30.0
        losses[bf16] = [trainer.train_step() for _ in range(3)]
    assert all(math.isfinite(loss) for loss in losses[True])
    assert losses[True] == pytest.approx(losses[False], rel=0.05)
    assert losses[True] != losses[False]
    for name, value in learner.model.named_parameters():
        assert not torch.equal(value, before[name]), name
        assert value.isfinite().all(), name
