"""Diffuse's network: it starts as the separator it began from, and listens to time, latents and state once trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from bundles import DIFFUSE
from torch import Tensor

from exdiff_cli.diffuse.score_net import Condition, ScoreNet, ScoreNetConfig
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.extract.separator import MASK, Extraction, Separator, apply_mask


def spectrum(seed: int, frames: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, 256, frames, dtype=torch.complex64, generator=generator)


def extraction(frames: int, batch: int = 2) -> Extraction:
    generator = torch.Generator().manual_seed(9)
    deep = torch.randn(batch, 8, 8, frames, generator=generator)
    shallow = torch.randn(batch, 4, 16, frames, generator=generator)
    finest = torch.randn(batch, 4, 128, frames, generator=generator)
    return Extraction(spectrum(8, frames, batch), (deep, shallow, finest))


def condition(net: ScoreNet, frames: int, keep: Tensor | None = None) -> Condition:
    return net.condition(spectrum(7, frames), extraction(frames), keep)


TIMES = torch.tensor([0.2, 0.9])


def test_starts_as_a_mask_at_rest(tiny_score_net: ScoreNet) -> None:
    given = condition(tiny_score_net, 10)
    at_rest = apply_mask(given.mixture, torch.zeros(2, MASK, 256, 10))
    assert torch.equal(tiny_score_net(spectrum(1, 10), TIMES, given), at_rest)


@pytest.mark.parametrize("frames", [1, 3, 4, 13, 65, 70])
def test_any_number_of_frames(lively_score_net: ScoreNet, frames: int) -> None:
    state = spectrum(1, frames)
    prediction = lively_score_net(state, TIMES, condition(lively_score_net, frames))
    assert prediction.shape == state.shape
    assert prediction.dtype == torch.complex64
    assert prediction.isfinite().all()
    assert not torch.equal(prediction, extraction(frames).estimate)


@pytest.mark.parametrize("preset", [ScoreNetConfig(), ScoreNetConfig(concatenate_estimate=False)])
def test_begins_as_the_separator(preset: ScoreNetConfig) -> None:
    """At any time and from any state it predicts what the separator estimates, also where it is not shown it."""
    torch.manual_seed(0)
    separator, net, mixture = Separator(), ScoreNet(preset), spectrum(7, 6)
    with torch.no_grad():
        for parameter in separator.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        found = separator(mixture, torch.zeros(2, dtype=torch.long))
        assert net.begin_from(separator)
        prediction = net(spectrum(1, 6), TIMES, net.condition(mixture, found))
    torch.testing.assert_close(prediction, found.estimate, atol=1e-5, rtol=0)


@pytest.mark.parametrize("blocks", [1, 3])
def test_begins_with_a_separator_of_another_depth(blocks: int) -> None:
    separator = Separator(ResUNetConfig(dual_path_blocks=blocks))
    net = ScoreNet()
    assert net.begin_from(separator)
    own, given = net.trunk.state_dict(), separator.network.state_dict()
    name = "bottleneck.{}.over_bands.project.weight"
    assert torch.equal(own[name.format(0)], given[name.format(0)])
    second = given[name.format(1)] if blocks > 1 else torch.zeros_like(own[name.format(1)])
    assert torch.equal(own[name.format(1)], second)


def test_begins_afresh_beside_a_separator_of_another_shape(tiny_separator: Separator) -> None:
    net = ScoreNet()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert not net.begin_from(tiny_separator)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_time_state_and_mixture_matter(lively_score_net: ScoreNet) -> None:
    given = condition(lively_score_net, 10)
    reference = lively_score_net(spectrum(1, 10), TIMES, given)
    others = (
        lively_score_net(spectrum(1, 10), TIMES + 0.05, given),
        lively_score_net(spectrum(2, 10), TIMES, given),
        lively_score_net(spectrum(1, 10), TIMES, replace(given, mixture=spectrum(3, 10))),
    )
    for other in others:
        assert (other - reference).abs().max() > 1e-5


def test_dropped_latents_have_no_influence(lively_score_net: ScoreNet) -> None:
    state, keep = spectrum(1, 10), torch.tensor([True, False])
    deep, shallow, finest = extraction(10).latents
    other = Extraction(extraction(10).estimate, (deep.flip(1), shallow + 1, finest.flip(1)))
    first = lively_score_net(state, TIMES, condition(lively_score_net, 10, keep))
    second = lively_score_net(state, TIMES, lively_score_net.condition(spectrum(7, 10), other, keep))
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("changed", range(3))
def test_every_latent_matters(lively_score_net: ScoreNet, changed: int) -> None:
    found = extraction(10)
    other = tuple(latent.flip(1) if index == changed else latent for index, latent in enumerate(found.latents))
    given = [
        lively_score_net.condition(spectrum(7, 10), Extraction(found.estimate, each)) for each in (found.latents, other)
    ]
    first, second = (lively_score_net(spectrum(1, 10), TIMES, each) for each in given)
    assert (first - second).abs().max() > 1e-6


def test_condition_serves_every_step(lively_score_net: ScoreNet) -> None:
    given = condition(lively_score_net, 10)
    for seed in (1, 2):
        again = lively_score_net(spectrum(seed, 10), TIMES, given)
        fresh = lively_score_net(spectrum(seed, 10), TIMES, condition(lively_score_net, 10))
        assert torch.equal(again, fresh)


def test_estimate_reaches_the_network_only_where_asked(lively_score_net: ScoreNet) -> None:
    torch.manual_seed(2)
    blind = ScoreNet(replace(DIFFUSE, concatenate_estimate=False))
    torch.nn.init.normal_(blind.trunk.head.weight)
    for net, sees in ((lively_score_net, True), (blind, False)):
        given = condition(net, 10)
        louder = replace(given, estimate=2 * given.estimate)
        predictions = [net(spectrum(1, 10), TIMES, each) for each in (given, louder)]
        assert ((predictions[0] - predictions[1]).abs().max() > 1e-3) == sees


@pytest.mark.parametrize("keep", [None, torch.tensor([True, True])])
def test_latents_reach_the_network_only_where_asked(lively_score_net: ScoreNet, keep: Tensor | None) -> None:
    deaf = ScoreNet(replace(DIFFUSE, attend_latents=False))
    deaf.load_state_dict(lively_score_net.state_dict())
    state, dropped = spectrum(1, 10), condition(lively_score_net, 10, torch.tensor([False, False]))
    expected = lively_score_net(state, TIMES, dropped)
    assert torch.equal(deaf(state, TIMES, condition(deaf, 10, keep)), expected)
    assert not torch.equal(lively_score_net(state, TIMES, condition(lively_score_net, 10, keep)), expected)


@pytest.mark.parametrize("source", range(3))
def test_masks_bring_in_state_mixture_and_estimate(tiny_score_net: ScoreNet, source: int) -> None:
    given, state = condition(tiny_score_net, 10), spectrum(1, 10)
    first = MASK + 2 + 2 * source
    with torch.no_grad():  # A head at rest but for its bias: the mask 0.5 - 1j everywhere.
        at_rest = tiny_score_net(state, TIMES, given)
        assert tiny_score_net.trunk.head.bias is not None
        tiny_score_net.trunk.head.bias[first : first + 2] = torch.tensor([0.5, -1.0])
        prediction = tiny_score_net(state, TIMES, given)
    brought = (state, given.mixture, given.estimate)[source]
    torch.testing.assert_close(prediction, at_rest + (0.5 - 1j) * brought)


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
