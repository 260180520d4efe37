"""NCSN++: the published size, odd lengths, the bottleneck hook, gradients and the quiet start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from exdiff_cli.diffuse.ncsnpp import Double, Halve, NCSNpp, SelfAttention

PUBLISHED_SIZE = 65.6e6


@pytest.fixture
def network() -> NCSNpp:
    torch.manual_seed(0)
    return NCSNpp(base_channels=8, blocks=1)


@pytest.fixture
def awake(network: NCSNpp) -> NCSNpp:
    """The network with its switched-off layers switched on, so that effects are of a size to see."""
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return network


def state(frames: int, batch: int = 2, channels: int = 4, bins: int = 256) -> Tensor:
    return torch.randn(batch, channels, bins, frames, generator=torch.Generator().manual_seed(frames))


def times(batch: int = 2) -> Tensor:
    return torch.linspace(0.03, 1.0, batch)


def test_size_and_shapes_are_the_published_ones() -> None:
    seen: list[torch.Size] = []

    def look(h: Tensor) -> Tensor:
        seen.append(h.shape)
        return h

    with torch.device("meta"):
        network = NCSNpp()
        output = network(torch.empty(1, 4, 256, 70), torch.empty(1), look)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(PUBLISHED_SIZE, rel=0.001)
    assert output.shape == (1, 2, 256, 70)
    assert seen == [(1, 256, 4, 2)]
    assert network.bottleneck_channels == 256


def test_attention_stands_where_it_was_published() -> None:
    with torch.device("meta"):
        network = NCSNpp()
    places = {name for name, module in network.named_modules() if isinstance(module, SelfAttention)}
    assert places == {"downs.4.attentions.0", "downs.4.attentions.1", "ups.2.attention", "attention"}


@pytest.mark.parametrize("frames", [1, 63, 64, 65])
def test_any_number_of_frames(network: NCSNpp, frames: int) -> None:
    assert network(state(frames, batch=1), times(1)).shape == (1, 2, 256, frames)


def test_channels_are_free() -> None:
    network = NCSNpp(in_channels=6, out_channels=3, base_channels=4, multipliers=(1, 1, 2), blocks=1, bins=16)
    assert network(state(5, channels=6, bins=16), times()).shape == (2, 3, 16, 5)


def test_padding_is_only_silence_after_the_end(awake: NCSNpp) -> None:
    short = state(40, batch=1)
    padded = torch.cat((short, torch.zeros(1, 4, 256, 24)), dim=-1)
    assert torch.allclose(awake(short, times(1)), awake(padded, times(1))[..., :40], atol=1e-5)


def test_starts_almost_silent(network: NCSNpp) -> None:
    assert network(state(64), times()).abs().max() < 1e-3


def test_gradient_reaches_every_parameter(network: NCSNpp) -> None:
    (network(state(64), times()) - state(64)[:, :2]).square().sum().backward()
    missed = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missed == []
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_silence_and_time_zero_stay_finite(awake: NCSNpp) -> None:
    output = awake(torch.zeros(1, 4, 256, 64), torch.zeros(1))
    output.sum().backward()
    assert output.isfinite().all()
    assert all(p.grad.isfinite().all() for p in awake.parameters() if p.grad is not None)


def test_time_changes_the_output(awake: NCSNpp) -> None:
    x = state(64, batch=1)
    assert not torch.allclose(awake(x, torch.tensor([0.1])), awake(x, torch.tensor([0.9])), rtol=1e-2)


def test_same_seed_same_network_same_output() -> None:
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(NCSNpp(base_channels=8, blocks=1)(state(20), times()))
    assert torch.equal(*outputs)


def test_random_frequencies_are_saved(network: NCSNpp) -> None:
    other = NCSNpp(base_channels=8, blocks=1)
    assert not torch.equal(other(state(10), times()), network(state(10), times()))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(state(10), times()), network(state(10), times()))


def test_context_is_applied_at_the_bottleneck(awake: NCSNpp) -> None:
    x, t = state(64), times()
    plain = awake(x, t)
    assert torch.equal(awake(x, t, nn.Identity()), plain)
    assert not torch.allclose(awake(x, t, lambda h: h + 1), plain, rtol=1e-2)


def test_context_receives_gradients(awake: NCSNpp) -> None:
    context = nn.Conv2d(awake.bottleneck_channels, awake.bottleneck_channels, 1)
    awake(state(64), times(), context).square().sum().backward()
    assert context.weight.grad is not None
    assert context.weight.grad.any()


def test_resampling_keeps_constants_and_direction() -> None:
    constant = torch.ones(1, 2, 16, 16)
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(Halve()(constant)[inside], torch.tensor(1.0))
    assert torch.allclose(Double()(constant)[inside], torch.tensor(1.0))
    image = torch.zeros(1, 1, 8, 8)
    image[..., 2, 5] = 1.0
    doubled = Double()(image)
    assert doubled.shape == (1, 1, 16, 16)
    rows, columns = doubled[0, 0].nonzero().float().mean(0)
    assert (rows, columns) == (4.5, 10.5), "the centre of pixel (2, 5) on the finer grid"


def test_attention_is_softmax_over_all_places() -> None:
    attention = SelfAttention(8)
    nn.init.dirac_(attention.out.weight)
    x = state(3, batch=1, channels=8, bins=4)
    query, key, value = attention.project(attention.norm(x)).flatten(2).chunk(3, dim=1)
    weights = (query.transpose(1, 2) @ key / 8**0.5).softmax(dim=-1)
    expected = (x + (value @ weights.transpose(1, 2)).view_as(x)) / 2**0.5
    assert torch.allclose(attention(x), expected, atol=1e-5)


@pytest.mark.parametrize(("width", "bins"), [(6, 256), (8, 100)])
def test_wrong_sizes_are_refused(width: int, bins: int) -> None:
    with pytest.raises(ValueError, match="multiples of 64"):
        NCSNpp(base_channels=width, bins=bins)
