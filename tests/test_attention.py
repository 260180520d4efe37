"""Cross-attention to the latents: windows, positions, dropping, and a naive reference for all of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exdiff_cli.diffuse.attention import LatentAttention, LatentTokens, Memory, rotate, rotation

CHANNELS, SIZE, BANDS, HEADS = 32, 8, 2, 4
TOKEN_RATE = 15.625
"""Frames a second of the tokens: a window holds 16 of them."""


def make_layer(rate: float = TOKEN_RATE, lively: bool = True) -> LatentAttention:
    torch.manual_seed(0)
    layer = LatentAttention(CHANNELS, SIZE, rate, HEADS)
    if lively:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def features(frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, CHANNELS, BANDS, frames, generator=torch.Generator().manual_seed(1))


def latents(frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, SIZE, 4, frames, generator=torch.Generator().manual_seed(2))


def attend(layer: LatentAttention, x: Tensor, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
    memory = layer.remember(tokens, torch.ones(len(x)) if keep is None else keep)
    return layer(x, memory)


def by_position(vectors: Tensor, frame: int, band: int, bands: int, rate: float) -> Tensor:
    """Turn pairs of ``vectors`` ``(heads, 8)``: two by time, then two by pitch, as the module's text says."""
    seconds, hertz = (frame + 0.5) / rate, (band + 0.5) * 8000 / bands
    angles = [seconds / 0.2, seconds / 8, hertz / 2000, hertz / 32_000]
    turned = vectors.clone()
    for pair, turns in enumerate(angles):
        cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
        a, b = vectors[:, 2 * pair], vectors[:, 2 * pair + 1]
        turned[:, 2 * pair] = a * cosine - b * sine
        turned[:, 2 * pair + 1] = a * sine + b * cosine
    return turned


def naive_attention(layer: LatentAttention, x: Tensor, tokens: Tensor) -> Tensor:
    """One query after the other, for a single row, without windows, padding or batches."""
    normed = layer.norm(x)[0]
    result = x[0].clone()
    keyed = {}
    for frame in range(tokens.shape[-1]):
        for band in range(4):
            key, value = layer.memory(tokens[0, :, band, frame]).view(2, HEADS, -1).unbind(0)
            keyed[frame, band] = by_position(key, frame, band, 4, TOKEN_RATE), value
    window = round(1.024 * layer.frames_per_second)
    for frame in range(x.shape[-1]):
        near = [pair for (at, _), pair in keyed.items() if abs(at // 16 - frame // window) <= 1]
        keys = torch.stack([key for key, _ in near] + [layer.null[0]])
        values = torch.stack([value for _, value in near] + [layer.null[1]])
        for band in range(BANDS):
            query = layer.query(normed[:, band, frame]).view(HEADS, -1)
            query = by_position(query, frame, band, BANDS, layer.frames_per_second)
            weights = ((keys * query).sum(-1) / math.sqrt(query.shape[-1])).softmax(0)
            result[:, band, frame] += layer.output((weights[..., None] * values).sum(0).flatten())
    return result[None]


@pytest.mark.parametrize(("frames", "tokens"), [(1, 1), (16, 16), (19, 19), (40, 35)])
def test_equals_the_naive_reference(frames: int, tokens: int) -> None:
    layer = make_layer()
    x, memory = features(frames, batch=1), latents(tokens, batch=1)
    torch.testing.assert_close(attend(layer, x, memory), naive_attention(layer, x, memory), atol=1e-4, rtol=1e-4)


def test_equals_the_naive_reference_at_twice_the_rate() -> None:
    layer = make_layer(2 * TOKEN_RATE)
    x, memory = features(37, batch=1), latents(19, batch=1)
    torch.testing.assert_close(attend(layer, x, memory), naive_attention(layer, x, memory), atol=1e-4, rtol=1e-4)


def test_starts_as_identity() -> None:
    x = features(20)
    assert torch.equal(attend(make_layer(lively=False), x, latents(20)), x)


def test_dropped_rows_do_not_depend_on_latents() -> None:
    layer, x, keep = make_layer(), features(20), torch.tensor([1.0, 0.0])
    tokens = latents(20).requires_grad_()
    result = attend(layer, x, tokens, keep)
    (gradient,) = torch.autograd.grad(result.square().sum(), tokens)
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).any()
    other = attend(layer, x, 5 * latents(20).flip(-1), keep)
    assert torch.equal(result[1], other[1])
    assert not torch.allclose(result[0], other[0])


@pytest.mark.parametrize(("rate", "window"), [(TOKEN_RATE, 16), (2 * TOKEN_RATE, 32)])
def test_latents_beyond_the_next_window_have_no_influence(rate: float, window: int) -> None:
    layer, x, tokens = make_layer(rate), features(6 * window), latents(6 * 16)
    changed = tokens.clone()
    changed[..., 3 * 16 : 4 * 16] += 1
    moved = (attend(layer, x, tokens) != attend(layer, x, changed)).any(dim=(0, 1, 2)).view(6, window)
    assert moved.any(1).tolist() == [False, False, True, True, True, False]


@pytest.mark.parametrize(("rate", "window"), [(TOKEN_RATE, 16), (2 * TOKEN_RATE, 32)])
def test_positions_are_relative(rate: float, window: int) -> None:
    """Moving features and latents by one window moves the result; moving one of them changes it.

    The null token has no position: its key is silenced here, as a turned query meets it at another angle.
    """
    layer, x, tokens = make_layer(rate), features(5 * window), latents(5 * 16)
    torch.nn.init.zeros_(layer.null[0])
    inner = slice(2 * window, 4 * window)
    expected = attend(layer, x, tokens).roll(window, -1)[..., inner]
    moved = attend(layer, x.roll(window, -1), tokens.roll(16, -1))[..., inner]
    torch.testing.assert_close(moved, expected, atol=2e-4, rtol=1e-3)
    skewed = attend(layer, x.roll(window, -1), tokens.roll(17, -1))[..., inner]
    assert (skewed - expected).abs().max() > 0.05


def test_both_positions_matter() -> None:
    turns = rotation(bands=4, frames=16, frames_per_second=TOKEN_RATE, size=8, device=torch.device("cpu"))
    turns = torch.view_as_complex(turns)
    assert turns.shape == (16, 4, 4)
    torch.testing.assert_close(turns.abs(), torch.ones(16, 4, 4))
    assert (turns[1:] != turns[:-1])[..., :2].all()
    assert (turns[:, 1:] != turns[:, :-1])[..., 2:].all()
    assert torch.equal(turns[0, 0, 2:], turns[5, 0, 2:])


def test_rotation_is_that_of_complex_numbers() -> None:
    turns = rotation(bands=BANDS, frames=19, frames_per_second=TOKEN_RATE, size=8, device=torch.device("cpu"))
    x = torch.randn(3, HEADS, 19, BANDS, 8, generator=torch.Generator().manual_seed(3))
    pairs = torch.view_as_complex(x.view(3, HEADS, 19, BANDS, 4, 2)) * torch.view_as_complex(turns)
    torch.testing.assert_close(rotate(x, turns), torch.view_as_real(pairs).flatten(-2), atol=1e-6, rtol=1e-6)


def test_memory_serves_many_queries() -> None:
    layer, tokens = make_layer(), latents(20)
    memory = layer.remember(tokens, torch.ones(2))
    before = Memory(memory.keys.clone(), memory.values.clone(), memory.open.clone())
    results = [layer(features(20) * step, memory) for step in (1, 2)]
    assert torch.equal(memory.keys, before.keys)
    assert torch.equal(memory.values, before.values)
    for step, result in zip((1, 2), results, strict=True):
        assert torch.equal(result, attend(layer, features(20) * step, tokens))


def test_padding_is_closed() -> None:
    memory = make_layer().remember(latents(19), torch.tensor([1.0, 0.0]))
    assert memory.keys.shape == (2, HEADS, 4, 16 * 4, CHANNELS // HEADS)
    assert memory.open[0].sum(-1).tolist() == [0, 16 * 4, 3 * 4, 0]
    assert not memory.open[1].any()


def test_rows_do_not_mix() -> None:
    layer, x, tokens = make_layer(), features(20, batch=3), latents(20, batch=3)
    together = attend(layer, x, tokens)
    alone = attend(layer, x[1:2], tokens[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_gradient_reaches_every_parameter() -> None:
    layer = make_layer()
    attend(layer, features(20), latents(20)).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("frames", [1, 4, 9])
def test_tokens_are_pooled_from_every_latent(frames: int) -> None:
    torch.manual_seed(0)
    tokens = LatentTokens(channels=(8, 4), bands=(8, 16), stride=4, size=SIZE)
    deep, shallow = torch.randn(2, 8, 8, frames), torch.randn(2, 4, 16, frames)
    pooled = tokens((deep, shallow))
    assert pooled.shape == (2, SIZE, 4, -(-frames // 4))
    assert not torch.allclose(pooled, tokens((2 - deep, shallow)))
    assert not torch.allclose(pooled, tokens((deep, 2 - shallow)))
