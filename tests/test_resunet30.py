"""ResUNet30: the published size, its mask and its behaviour on silence and odd lengths."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exdiff_cli.extract.resunet30 import ResUNet30, apply_mask

CONDITION = 6
SMALL = (4, 4, 8, 8, 12, 12)

# The published layer table: (inputs, outputs) of each residual block of the encoder and bottleneck, and
# (inputs, outputs, kernel area of the transposed convolution) of each decoder.
ENCODERS = ((32, 32), (32, 64), (64, 128), (128, 256), (256, 384), (384, 384), (384, 384))
DECODERS = ((384, 384, 2), (384, 384, 4), (384, 256, 4), (256, 128, 4), (128, 64, 4), (64, 32, 4))


@pytest.fixture
def network() -> ResUNet30:
    torch.manual_seed(0)
    return ResUNet30(CONDITION, channels=SMALL)


def spectrum(frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 256, frames, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def block_size(inputs: int, outputs: int, condition: int) -> int:
    """Values in one residual block: two norms with their shifts, two 3x3 convolutions, perhaps a 1x1."""
    norms = (inputs + outputs) * (2 + condition + 1)
    shortcut = inputs * outputs + outputs if inputs != outputs else 0
    return norms + 9 * outputs * (inputs + outputs) + shortcut


def published_size(condition: int, bins: int, unused: bool) -> int:
    """Count the release by hand, with or without the norm and shift that its decoders never use."""
    total = 2 * bins + 2 * 32 + 32 * 3 + 3
    total += sum(block_size(inputs, outputs, condition) for inputs, outputs in ENCODERS)
    for inputs, outputs, area in DECODERS:
        total += (2 if unused else 1) * inputs * (2 + condition + 1) + area * inputs * outputs
        total += block_size(2 * outputs, outputs, condition)
    return total


def test_size_is_the_published_one() -> None:
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in ResUNet30(512).parameters())
    assert published_size(512, bins=1025, unused=True) == 26_447_941
    assert size == published_size(512, bins=256, unused=False)


@pytest.mark.parametrize("frames", [1, 31, 32, 45])
def test_any_number_of_frames(network: ResUNet30, frames: int) -> None:
    estimate, (bottleneck, level) = network.eval()(spectrum(frames), torch.randn(2, CONDITION))
    assert estimate.shape == (2, 256, frames)
    assert estimate.dtype == torch.complex64
    assert bottleneck.shape == (2, network.latent_channels[0], 4, -(-frames // 32))
    assert level.shape == (2, network.latent_channels[1], 32, -(-frames // 8))


def test_latents_of_the_published_size() -> None:
    with torch.device("meta"):
        network = ResUNet30(16).eval()
        mixture = torch.empty(1, 256, 100, dtype=torch.complex64)
        estimate, latents = network(mixture, torch.empty(1, 16))
    assert estimate.shape == mixture.shape
    assert [tuple(latent.shape) for latent in latents] == [(1, 384, 4, 4), (1, 256, 32, 13)]
    assert network.latent_channels == (384, 256)


def test_mask_attenuates_and_rotates() -> None:
    mixture = spectrum(3)
    turn = torch.zeros(2, 3, 256, 3)
    turn[:, 2] = 0.5
    assert torch.allclose(apply_mask(mixture, turn), 0.5j * mixture, atol=1e-5)
    random = torch.randn(2, 3, 256, 3)
    masked = apply_mask(mixture, random)
    assert torch.allclose(masked.abs(), mixture.abs() * random[:, 0].sigmoid(), atol=1e-4)


def test_estimate_never_exceeds_the_mixture(network: ResUNet30) -> None:
    mixture = spectrum(20)
    estimate, _ = network(mixture, torch.randn(2, CONDITION))
    assert (estimate.abs() <= mixture.abs() + 1e-6).all()


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_silence_gives_silence_and_finite_gradients(network: ResUNet30, scale: float) -> None:
    silence = torch.zeros(2, 256, 9, dtype=torch.complex64)
    estimate, (bottleneck, level) = network(silence, scale * torch.randn(2, CONDITION))
    assert not estimate.abs().any()
    loss = torch.view_as_real(estimate).sum() + bottleneck.square().sum() + level.square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_condition_changes_the_estimate(network: ResUNet30) -> None:
    mixture = spectrum(16, batch=1).expand(2, -1, -1)
    estimate, _ = network.eval()(mixture, torch.eye(2, CONDITION))
    assert not torch.allclose(estimate[0], estimate[1], rtol=1e-2)


def test_gradient_reaches_every_parameter(network: ResUNet30) -> None:
    estimate, _ = network(spectrum(40), torch.randn(2, CONDITION))
    (estimate - spectrum(40) * 0.3j).abs().square().sum().backward()
    missed = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missed == []


def test_batch_members_do_not_touch_each_other(network: ResUNet30) -> None:
    mixture, condition = spectrum(10), torch.randn(2, CONDITION)
    together, _ = network.eval()(mixture, condition)
    alone, _ = network(mixture[1:], condition[1:])
    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 64"):
        ResUNet30(CONDITION, channels=SMALL, bins=257)
