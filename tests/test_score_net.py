"""Diffuse's network: it starts as Extract's estimate and listens to time, latents and state once trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exdiff_cli.diffuse.score_net import Condition, ScoreNet, ScoreNetConfig
from exdiff_cli.extract.separator import Extraction, Separator


def spectrum(seed: int, frames: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, 256, frames, dtype=torch.complex64, generator=generator)


def extraction(frames: int, batch: int = 2) -> Extraction:
    generator = torch.Generator().manual_seed(9)
    deep = torch.randn(batch, 8, 8, frames, generator=generator)
    shallow = torch.randn(batch, 4, 16, frames, generator=generator)
    return Extraction(spectrum(8, frames, batch), (deep, shallow))


def condition(net: ScoreNet, frames: int, keep: Tensor | None = None) -> Condition:
    return net.condition(spectrum(7, frames), extraction(frames), keep)


TIMES = torch.tensor([0.2, 0.9])


def test_starts_as_the_estimate(tiny_score_net: ScoreNet) -> None:
    given = condition(tiny_score_net, 10)
    assert torch.equal(tiny_score_net(spectrum(1, 10), TIMES, given), given.estimate)


@pytest.mark.parametrize("frames", [1, 3, 4, 13, 65, 70])
def test_any_number_of_frames(lively_score_net: ScoreNet, frames: int) -> None:
    state = spectrum(1, frames)
    prediction = lively_score_net(state, TIMES, condition(lively_score_net, frames))
    assert prediction.shape == state.shape
    assert prediction.dtype == torch.complex64
    assert prediction.isfinite().all()
    assert not torch.equal(prediction, extraction(frames).estimate)


@pytest.mark.parametrize("preset", [ScoreNetConfig(), ScoreNetConfig(concatenate_estimate=False)])
def test_presets_fit_the_small_separator(preset: ScoreNetConfig) -> None:
    torch.manual_seed(0)
    net, mixture = ScoreNet(preset), spectrum(7, 6, batch=1)
    with torch.no_grad():
        found = Separator()(mixture, torch.tensor([0]))
        prediction = net(mixture, torch.tensor([0.5]), net.condition(mixture, found))
    assert torch.equal(prediction, found.estimate)
    assert net.config.stride == 4


def test_time_state_and_mixture_matter(lively_score_net: ScoreNet) -> None:
    given = condition(lively_score_net, 10)
    reference = lively_score_net(spectrum(1, 10), TIMES, given)
    others = (
        lively_score_net(spectrum(1, 10), TIMES + 0.05, given),
        lively_score_net(spectrum(2, 10), TIMES, given),
        lively_score_net(spectrum(1, 10), TIMES, Condition(spectrum(3, 10), given.estimate, given.memories)),
    )
    for other in others:
        assert (other - reference).abs().max() > 1e-5


def test_dropped_latents_have_no_influence(lively_score_net: ScoreNet) -> None:
    state, keep = spectrum(1, 10), torch.tensor([True, False])
    deep, shallow = extraction(10).latents
    other = Extraction(extraction(10).estimate, (deep.flip(1), shallow + 1))
    first = lively_score_net(state, TIMES, condition(lively_score_net, 10, keep))
    second = lively_score_net(state, TIMES, lively_score_net.condition(spectrum(7, 10), other, keep))
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


def test_condition_serves_every_step(lively_score_net: ScoreNet) -> None:
    given = condition(lively_score_net, 10)
    for seed in (1, 2):
        again = lively_score_net(spectrum(seed, 10), TIMES, given)
        fresh = lively_score_net(spectrum(seed, 10), TIMES, condition(lively_score_net, 10))
        assert torch.equal(again, fresh)


def test_estimate_reaches_the_network_only_where_asked(lively_score_net: ScoreNet) -> None:
    """Without concatenation the correction that is added to the estimate does not look at it."""
    torch.manual_seed(2)
    blind = ScoreNet(
        ScoreNetConfig((4, 4, 8, 16, 16), token_size=8, latent_channels=(8, 4), concatenate_estimate=False)
    )
    torch.nn.init.normal_(blind.head.weight)
    for net, sees in ((lively_score_net, True), (blind, False)):
        given = condition(net, 10)
        louder = Condition(given.mixture, 2 * given.estimate, given.memories)
        corrections = [net(spectrum(1, 10), TIMES, each) - each.estimate for each in (given, louder)]
        assert ((corrections[0] - corrections[1]).abs().max() > 1e-3) == sees


def test_gradient_with_channels_last_and_frozen_latents(lively_score_net: ScoreNet) -> None:
    """torch 2.11 ended the whole process here while the latents kept their memory layout."""
    net = lively_score_net
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = extraction(11)
    latents = tuple(latent.contiguous(memory_format=torch.channels_last) for latent in found.latents)
    given = net.condition(spectrum(7, 11), Extraction(found.estimate, latents))
    net(spectrum(1, 11), TIMES, given).abs().square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
