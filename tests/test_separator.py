"""Extract: mask, silence, queries, latents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exdiff_cli.extract.query import QUERIES, QueryBank
from exdiff_cli.extract.separator import MASK_CEILING, Separator, apply_mask


def spectrum(frames: int = 9, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 0.1 * torch.randn(batch, 256, frames, dtype=torch.complex64, generator=generator)


def speech_query(batch: int = 2) -> Tensor:
    return torch.zeros(batch, dtype=torch.long)


def test_mask_amplifies_by_no_more_than_its_ceiling() -> None:
    channels = 30 * torch.randn(2, 3, 256, 9, generator=torch.Generator().manual_seed(4))
    ratio = apply_mask(spectrum(), channels).abs() / spectrum().abs()
    assert ratio.max() <= MASK_CEILING + 1e-5
    assert ratio.max() > MASK_CEILING - 0.01
    assert ratio.min() < 0.01


def test_network_at_rest_turns_no_phase() -> None:
    masked = apply_mask(spectrum(), torch.zeros(2, 3, 256, 9))
    torch.testing.assert_close(masked, spectrum() * MASK_CEILING / 2)


def test_mask_turns_phases_by_its_two_channels() -> None:
    channels = torch.zeros(1, 3, 1, 1)
    channels[0, 1:, 0, 0] = torch.tensor([-1.0, 5.0])
    turned = apply_mask(torch.ones(1, 1, 1, dtype=torch.complex64), channels)
    torch.testing.assert_close(turned.flatten(), torch.tensor([0.6j], dtype=torch.complex64))


def test_gradient_is_finite_where_the_rotation_vanishes() -> None:
    channels = torch.zeros(1, 3, 1, 1)
    channels[0, 1] = -1
    channels.requires_grad_()
    apply_mask(torch.ones(1, 1, 1, dtype=torch.complex64), channels).abs().sum().backward()  # type: ignore[no-untyped-call]
    assert channels.grad is not None
    assert channels.grad.isfinite().all()


def test_estimate_and_latents(tiny_separator: Separator) -> None:
    extraction = tiny_separator(spectrum(frames=5), speech_query())
    assert extraction.estimate.shape == (2, 256, 5)
    assert extraction.estimate.dtype == torch.complex64
    assert [tuple(latent.shape) for latent in extraction.latents] == [(2, 8, 8, 5), (2, 4, 16, 5), (2, 4, 128, 5)]
    assert (extraction.estimate.abs() <= MASK_CEILING * spectrum(frames=5).abs() + 1e-6).all()


def test_silence_in_silence_out(tiny_separator: Separator) -> None:
    silence = torch.zeros(1, 256, 6, dtype=torch.complex64, requires_grad=True)
    estimate = tiny_separator(silence, speech_query(1)).estimate
    assert (estimate == 0).all()
    torch.view_as_real(estimate).square().sum().add(estimate.abs().sum()).backward()  # type: ignore[no-untyped-call]
    gradients = [silence.grad, *(parameter.grad for parameter in tiny_separator.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_rows_do_not_mix(tiny_separator: Separator) -> None:
    together = tiny_separator(spectrum(), torch.tensor([0, 1])).estimate
    alone = tiny_separator(spectrum()[1:], torch.tensor([1])).estimate
    torch.testing.assert_close(together[1:], alone, atol=1e-6, rtol=1e-4)


def test_query_decides_what_is_extracted(tiny_separator: Separator) -> None:
    speech = tiny_separator(spectrum(), torch.tensor([0, 0])).estimate
    noise = tiny_separator(spectrum(), torch.tensor([1, 1])).estimate
    assert (speech - noise).abs().max() > 1e-3


def test_query_bank_knows_its_names() -> None:
    bank = QueryBank(4)
    assert [bank.index(name) for name in QUERIES] == [0, 1]
    assert torch.equal(bank(torch.tensor([1, 0])), bank.embeddings.flip(0))
    with pytest.raises(KeyError, match=r"no query named 'trumpet'; known: speech, noise"):
        bank.index("trumpet")
