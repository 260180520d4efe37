"""The ``small`` separation network: its size, its shapes, and what a query does in it."""

from __future__ import annotations

import pytest
import torch

from exdiff_cli.extract.resunet import DualPath, FiLM, ResUNet, ResUNetConfig, count_parameters, deepen
from exdiff_cli.extract.separator import Separator

TINY = ResUNetConfig(channels=(4, 4, 4, 4, 8), hidden=4, dual_path_blocks=1, query_size=4)


@pytest.fixture
def network() -> ResUNet:
    torch.manual_seed(0)
    return ResUNet(TINY)


def test_small_has_the_size_of_its_trained_weights() -> None:
    assert count_parameters(Separator()) == 373_939


@pytest.mark.parametrize("frames", [1, 2, 7, 33])
def test_any_number_of_frames(network: ResUNet, frames: int) -> None:
    mask, (bottleneck, decoded, finest) = network(torch.randn(2, 3, 256, frames), torch.randn(2, 4))
    assert mask.shape == (2, 3, 256, frames)
    assert bottleneck.shape == (2, 8, 8, frames)
    assert decoded.shape == (2, 4, 16, frames)
    assert finest.shape == (2, 4, 128, frames)


def test_dual_path_carries_context_along_both_axes() -> None:
    """A change in one corner is felt in the opposite one, though no convolution or norm spans them."""
    features = torch.randn(1, 8, 8, 20, requires_grad=True)
    (gradient,) = torch.autograd.grad(DualPath(8, 4)(features)[0, :, -1, -1].sum(), features)
    assert gradient[0, :, 0, 0].abs().max() > 0


def test_film_scales_and_shifts_channels() -> None:
    film = FiLM(2, 3)
    with torch.no_grad():
        film.project.weight.copy_(torch.tensor([[1.0, 0], [2, 0], [3, 0], [0, 1], [0, 2], [0, 3]]))
    result = film(torch.ones(1, 3, 2, 2), torch.tensor([[1.0, 10.0]]))
    assert result[0, :, 0, 0].tolist() == [2 + 10, 3 + 20, 4 + 30]


def test_gradient_reaches_every_parameter(network: ResUNet) -> None:
    mask, _ = network(torch.randn(1, 3, 256, 5), torch.randn(1, 4))
    mask.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_deepened_network_begins_as_the_other_ended() -> None:
    torch.manual_seed(0)
    shallow, deep = (ResUNet(ResUNetConfig((4, 4, 4, 4, 8), 4, blocks, 4)) for blocks in (1, 3))
    weights = deepen(shallow.state_dict(), deep.state_dict(), "bottleneck.")
    deep.load_state_dict(weights)
    features, query = torch.randn(2, 3, 256, 7), torch.randn(2, 4)
    masks = [network(features, query)[0] for network in (shallow, deep)]
    torch.testing.assert_close(masks[1], masks[0])
    masks[1].square().sum().backward()
    further = dict(deep.named_parameters())["bottleneck.2.over_frames.project.weight"]
    assert further.grad is not None
    assert further.grad.abs().max() > 0


def test_deepening_adds_nothing_but_blocks() -> None:
    network = ResUNet(ResUNetConfig((4, 4, 4, 4, 8), 4, 1, 4))
    weights = network.state_dict()
    del weights["head.weight"]
    assert deepen(weights, network.state_dict(), "bottleneck.").keys() == weights.keys()
