"""Sampling: a row's result follows from its own spectrum and seed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from exdiff_cli.diffuse.generate import SamplerConfig, _generator, generate, seeded_noise
from exdiff_cli.diffuse.score_net import Condition, ScoreNet
from exdiff_cli.extract.separator import Extraction

FRAMES = 9
CPU = torch.device("cpu")
BRIDGE = SamplerConfig(steps=3)
SAMPLERS = [
    BRIDGE,
    replace(BRIDGE, kind="sde", noise_scale=0.4),
    replace(BRIDGE, start=1.0),
    SamplerConfig(process="ouve", steps=3, start=0.9),
]


def mixture(rows: slice = slice(None)) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return 0.1 * torch.randn(3, 256, FRAMES, dtype=torch.complex64, generator=generator)[rows]


def extraction(rows: slice = slice(None)) -> Extraction:
    generator = torch.Generator().manual_seed(6)
    deep = torch.randn(3, 8, 8, FRAMES, generator=generator)
    shallow = torch.randn(3, 4, 16, FRAMES, generator=generator)
    finest = torch.randn(3, 4, 128, FRAMES, generator=generator)
    return Extraction(0.7 * mixture(rows), (deep[rows], shallow[rows], finest[rows]))


@torch.no_grad()
def sample(net: ScoreNet, sampler: SamplerConfig, seeds: list[int], rows: slice = slice(None)) -> Tensor:
    noise = seeded_noise(seeds, (256, FRAMES), CPU)
    return generate(net, mixture(rows), extraction(rows), sampler, noise)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_row_alone_equals_row_in_batch(lively_score_net: ScoreNet, sampler: SamplerConfig) -> None:
    together = sample(lively_score_net, sampler, [11, 12, 13])
    assert together.isfinite().all()
    assert torch.equal(together, sample(lively_score_net, sampler, [11, 12, 13]))
    alone = sample(lively_score_net, sampler, [12], slice(1, 2))
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("process", ["bridge", "ouve"])
def test_one_step(lively_score_net: ScoreNet, process: str) -> None:
    sampler = SamplerConfig(process="ouve" if process == "ouve" else "bridge", steps=1)
    result = sample(lively_score_net, sampler, [1, 2, 3])
    assert result.shape == (3, 256, FRAMES)
    assert result.isfinite().all()


def test_one_step_from_the_mixture_is_the_plain_prediction(lively_score_net: ScoreNet) -> None:
    given = lively_score_net.condition(mixture(), extraction())
    with torch.no_grad():
        expected = lively_score_net(mixture(), torch.ones(3), given)
    result = sample(lively_score_net, SamplerConfig(steps=1, start=1.0), [1, 2, 3])
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("sampler", [SAMPLERS[1], SAMPLERS[3]])
def test_seeds_are_draws(lively_score_net: ScoreNet, sampler: SamplerConfig) -> None:
    first, second = (sample(lively_score_net, sampler, [seed, 2, 3]) for seed in (1, 4))
    assert (first[0] - second[0]).abs().max() > 1e-3
    torch.testing.assert_close(first[1:], second[1:], atol=1e-5, rtol=0)


def test_what_every_step_predicts_is_the_sample(tiny_score_net: ScoreNet) -> None:
    """The noise of the states is gone at the end: a network that always answers alike has the last word."""
    given = tiny_score_net.condition(mixture(), extraction())
    with torch.no_grad():  # At rest, it answers alike at any time and from any state.
        expected = tiny_score_net(mixture(), torch.ones(3), given)
    torch.testing.assert_close(sample(tiny_score_net, BRIDGE, [1, 2, 3]), expected)


def test_latents_are_read_once(lively_score_net: ScoreNet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = lively_score_net.condition, []

    def counted(spectrum: Tensor, found: Extraction, keep: Tensor | None) -> Condition:
        calls.append(found)
        return whole(spectrum, found, keep)

    monkeypatch.setattr(lively_score_net, "condition", counted)
    sample(lively_score_net, BRIDGE, [1, 2, 3])
    assert len(calls) == 1


def test_dropping_latents_changes_the_result(lively_score_net: ScoreNet) -> None:
    noise = seeded_noise([1, 2, 3], (256, FRAMES), CPU)
    with torch.no_grad():
        kept, dropped = (
            generate(lively_score_net, mixture(), extraction(), BRIDGE, noise, torch.full((3,), keep))
            for keep in (True, False)
        )
    assert torch.equal(kept, sample(lively_score_net, BRIDGE, [1, 2, 3]))
    assert (kept - dropped).abs().max() > 1e-4


def test_noise_follows_from_seed_and_step() -> None:
    noise, other = seeded_noise([1, 2], (256, FRAMES), CPU), seeded_noise([7, 1], (256, FRAMES), CPU)
    assert torch.equal(noise(3)[0], other(3)[1])
    assert not torch.equal(noise(3)[0], noise(3)[1])
    assert not torch.equal(noise(0), noise(1))
    assert not torch.equal(noise(0), seeded_noise([1 + 2**40, 2 + 2**40], (256, FRAMES), CPU)(0))
    assert noise(0).abs().square().mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("frames", [1, 7, 70])
def test_noise_is_what_each_row_would_be_drawn_alone(frames: int) -> None:
    """However it is brought to a device, or a result would not be the same again."""
    noise = seeded_noise([1, 2**40], (256, frames), CPU)
    for index in (2, 0):
        alone = [
            torch.randn(256, frames, generator=_generator(seed, index), dtype=torch.complex64) for seed in (1, 2**40)
        ]
        assert torch.equal(noise(index), torch.stack(alone))
    first = seeded_noise([7], (1, 2), CPU)(0).flatten()
    known = torch.tensor([-0.06114491447806358 - 0.059091921895742416j, -0.09094588458538055 - 0.23658955097198486j])
    torch.testing.assert_close(first, known, rtol=1e-6, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("process", ["bridge", "ouve"])
def test_strength_is_the_way_from_the_estimate_to_the_sample(lively_score_net: ScoreNet, process: str) -> None:
    whole = SamplerConfig(process="ouve" if process == "ouve" else "bridge", steps=2)
    full, half, none = (sample(lively_score_net, replace(whole, strength=share), [1, 2, 3]) for share in (1, 0.5, 0))
    torch.testing.assert_close(half, (full + none) / 2)
    torch.testing.assert_close(none, extraction().estimate)


@pytest.mark.parametrize(("apart", "evaluations"), [(0.01, 1), (0.5, 3)])
def test_a_prediction_like_the_estimate_is_the_last(
    lively_score_net: ScoreNet, monkeypatch: pytest.MonkeyPatch, apart: float, evaluations: int
) -> None:
    """Of clean speech, which needs no more steps; its result is that prediction."""
    calls: list[Tensor] = []

    def predict(net: ScoreNet, state: Tensor, t: Tensor, condition: Condition) -> Tensor:
        calls.append((1 + apart) * condition.estimate)
        return calls[-1]

    monkeypatch.setattr(ScoreNet, "forward", predict)
    result = sample(lively_score_net, BRIDGE, [1, 2, 3])
    assert len(calls) == evaluations
    torch.testing.assert_close(result, calls[0])
