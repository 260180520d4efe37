"""What PESQ's listener minds, as a loss: close to PESQ, forgiving what it forgives, and safe to learn by."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from recordings import DATA
from scipy.signal import lfilter
from torch import Tensor

from exdiff_cli.measures.reference import pesq_wb
from exdiff_cli.training.disturbance import BAND_BARK, BAND_BINS, disturbance, hearing


def read(name: str) -> Tensor:
    return torch.from_numpy(soundfile.read(DATA / name, dtype="float32")[0])[None]


def opinion(estimate: Tensor, target: Tensor) -> float:
    """PESQ-WB of the disturbance, by the mapping of P.862.2."""
    raw = 4.5 - disturbance(estimate, target).item()
    return 0.999 + 4 / (1 + float(np.exp(-1.3669 * raw + 3.8224)))


@pytest.fixture(scope="module")
def clean() -> Tensor:
    return read("clean.wav")


@pytest.fixture(scope="module")
def noise(clean: Tensor) -> Tensor:
    return read("noisy.wav") - clean


@pytest.mark.eval
@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.05])
def test_it_is_close_to_pesq(clean: Tensor, noise: Tensor, share: float) -> None:
    estimate = clean + share * noise
    assert opinion(estimate, clean) == pytest.approx(pesq_wb(estimate[0].numpy(), clean[0].numpy()), abs=0.15)


def test_more_noise_disturbs_more(clean: Tensor, noise: Tensor) -> None:
    levels = [disturbance(clean + share * noise, clean).item() for share in (0.0, 0.05, 0.2, 0.5, 1.0)]
    assert all(less < more for less, more in pairwise(levels))
    assert levels[0] < 0.001


def test_volume_and_an_even_colour_are_forgiven(clean: Tensor, noise: Tensor) -> None:
    noisy = disturbance(clean + 0.2 * noise, clean)
    torch.testing.assert_close(disturbance(4 * clean + 0.8 * noise, clean), noisy, rtol=1e-3, atol=1e-3)
    darker = torch.from_numpy(lfilter([0.6], [1, -0.4], clean.numpy()).astype(np.float32))
    assert disturbance(darker, clean) < 0.5 * noisy


def test_rows_do_not_touch_each_other(clean: Tensor, noise: Tensor) -> None:
    targets = torch.cat((clean, clean.roll(800, -1)))
    estimates = targets + torch.cat((0.1 * noise, noise))
    alone = torch.cat([disturbance(estimates[row : row + 1], targets[row : row + 1]) for row in range(2)])
    torch.testing.assert_close(disturbance(estimates, targets), alone)


def test_following_the_gradient_raises_the_opinion(clean: Tensor, noise: Tensor) -> None:
    estimate = (clean + 0.5 * noise).requires_grad_()
    before = opinion(estimate, clean)
    (gradient,) = torch.autograd.grad(disturbance(estimate, clean).sum(), estimate)
    step = 0.002 * gradient / gradient.abs().max()
    assert opinion(estimate - step, clean) > before > opinion(estimate + step, clean)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0])
def test_gradient_is_finite_where_nothing_disturbs_and_in_silence(clean: Tensor, scale: float) -> None:
    estimate = (scale * clean).requires_grad_()
    level = disturbance(estimate, clean)
    (gradient,) = torch.autograd.grad(level.sum(), estimate)
    assert level.isfinite().all()
    assert gradient.isfinite().all()


def test_one_frame_is_enough() -> None:
    speech, other = torch.randn(2, 1, 512, generator=torch.Generator().manual_seed(1))
    assert disturbance(speech, speech).item() < 0.001 < disturbance(other, speech).item()


def test_half_precision_around_it_changes_nothing(clean: Tensor, noise: Tensor) -> None:
    estimate = clean + 0.2 * noise
    with torch.autocast("cpu", torch.bfloat16):
        inside = disturbance(estimate, clean)
    torch.testing.assert_close(inside, disturbance(estimate, clean))


def test_bands_are_those_of_the_standard() -> None:
    """49 bands side by side over all bins but the last, from below 0.1 to above 21 Bark."""
    ear = hearing(torch.device("cpu"))
    assert len(BAND_BINS) == len(BAND_BARK) == 49
    assert sum(BAND_BINS) == 256
    assert ((ear.bank > 0).sum(0)[1:-1] == 1).all()
    assert ear.exponent[0] == pytest.approx(0.23 * 2**0.15)  # Steeper for low sounds.
    assert ear.exponent[-1] == pytest.approx(0.23)
    assert 21 < sum(BAND_BARK) < 21.5
