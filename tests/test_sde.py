"""The processes against their defining equations: simulated, integrated numerically, and at both ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exdiff_cli.diffuse.sde import OUVE, Bridge, score_matching_loss
from exdiff_cli.errors import UsageError

DTYPES = [torch.float32, torch.complex64]


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def simulate_ouve(sde: OUVE, x0: Tensor, y: Tensor, steps: int) -> Tensor:
    """Euler-Maruyama from 0 to 1, from drift and diffusion alone; g is taken at each step's middle."""
    generator, x = torch.Generator().manual_seed(5), x0.clone()
    for i in range(steps):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        scale = float(sde.diffusion((i + 0.5) / steps)) / math.sqrt(steps)
        x = x + sde.drift(x, y) / steps + scale * noise
    return x


@pytest.mark.parametrize("dtype", DTYPES)
def test_ouve_simulated_forwards_has_the_closed_form_mean_and_std(dtype: torch.dtype) -> None:
    n, sde = 40_000, OUVE()
    x0, y = torch.full((n, 1), 1.0, dtype=dtype), torch.full((n, 1), -0.5, dtype=dtype)
    x = simulate_ouve(sde, x0, y, steps=400)
    std = 0.05 * math.sqrt(math.log(10) / (1.5 + math.log(10)) * (100 - math.exp(-3)))
    # four Monte-Carlo errors (std / sqrt(n) and std / sqrt(2 n)) and Euler's own, below 0.2 % at 400 steps
    mean = -0.5 + 1.5 * math.exp(-1.5)
    assert abs(x.mean() - mean) < 4 * std / math.sqrt(n) + 0.002
    torch.testing.assert_close(sde.mean(x0, y, 1.0), torch.full_like(x0, mean))
    assert float(x.std()) == pytest.approx(std, abs=4 * std / math.sqrt(2 * n) + 0.003 * std)
    assert float(sde.std(1.0)) == pytest.approx(std, rel=1e-9)


def test_ouve_starts_at_the_target_without_noise() -> None:
    x0, y, z = draw(3, 4, seed=0), draw(3, 4, seed=1), draw(3, 4, seed=2)
    assert torch.equal(OUVE().perturb(x0, torch.zeros_like(y), 0.0, z), x0)
    torch.testing.assert_close(OUVE().perturb(x0, y, 0.0, z), x0)


def test_ouve_prior_is_the_mixture_and_the_noise_of_the_last_time() -> None:
    y, z = draw(2, 5, seed=1, dtype=torch.complex64), draw(2, 5, seed=2, dtype=torch.complex64)
    torch.testing.assert_close(OUVE().prior(y, z), OUVE().perturb(y, y, 1.0, z))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ouve_score_of_a_perturbed_state_is_the_scaled_noise(dtype: torch.dtype) -> None:
    x0, y, z = (draw(4, 3, 6, seed=seed, dtype=dtype) for seed in range(3))
    t, sde = torch.tensor([0.03, 0.3, 0.7, 1.0]), OUVE()
    score = sde.score(sde.perturb(x0, y, t, z), x0, y, t)
    expected = -z / sde.std(t).float()[:, None, None]
    torch.testing.assert_close(score, expected, rtol=1e-3, atol=1e-3)
    assert float(score_matching_loss(score, z, sde.std(t))) < 1e-6
    # the variance cancels the scale of the target: a score of zero costs the noise's variance, 1 at any time
    assert float(score_matching_loss(torch.zeros_like(z), z, sde.std(t))) == pytest.approx(
        float(z.abs().square().mean())
    )


def test_score_of_real_states_is_the_gradient_of_the_log_density() -> None:
    x0, y, sde, t = draw(2, 3, seed=0), draw(2, 3, seed=1), OUVE(), 0.4
    x = draw(2, 3, seed=2).requires_grad_()
    log_density = -(x - sde.mean(x0, y, t)).square() / (2 * float(sde.std(t)) ** 2)
    (gradient,) = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close(sde.score(x.detach(), x0, y, t), gradient)


def test_bridge_variance_is_the_integral_of_the_squared_diffusion() -> None:
    sde, grid = Bridge(), torch.linspace(0, 0.6, 2001, dtype=torch.float64)
    integral = torch.trapezoid(sde.diffusion(grid) ** 2, grid)
    assert float(integral) == pytest.approx(float(sde.variance(0.6)), rel=1e-6)
    assert float(sde.variance(0.6)) == pytest.approx(0.4 * (2.6**1.2 - 1) / (2 * math.log(2.6)), rel=1e-9)


def test_bridge_weights_are_those_of_the_pinned_process() -> None:
    sde, t = Bridge(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    to_t, whole = sde.variance(t), sde.variance(1.0)
    w_x, w_y, sigma = sde.weights(t)
    torch.testing.assert_close(w_x, (whole - to_t) / whole)
    torch.testing.assert_close(w_y, to_t / whole)
    torch.testing.assert_close(sigma**2, to_t * (whole - to_t) / whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_bridge_is_exact_at_both_ends(batch: int, dtype: torch.dtype) -> None:
    # silence too: a trace of noise at t = 1 would be all there is
    x0, y, z = (draw(batch, 7, seed=seed, dtype=dtype) for seed in range(3))
    y[:, :3] = 0
    assert torch.equal(Bridge().warm_start(x0, y, 1.0, z), y)
    assert torch.equal(Bridge().warm_start(x0, y, torch.ones(batch), z), y)
    assert torch.equal(Bridge().perturb(x0, y, 0.0, z), x0)
    assert torch.equal(Bridge().perturb(x0, y, torch.zeros(batch), z), x0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bridge_marginal_has_the_stated_mean_and_total_variance(dtype: torch.dtype) -> None:
    n = 100_000
    x0, y = torch.full((1, n), 1.0, dtype=dtype), torch.full((1, n), -2.0, dtype=dtype)
    x = Bridge().perturb(x0, y, 0.5, draw(1, n, seed=3, dtype=dtype))
    w_y = (2.6 - 1) / (2.6**2 - 1)
    total = 0.4 * (2.6**2 - 1) / (2 * math.log(2.6))
    std = math.sqrt(total * w_y * (1 - w_y))
    assert abs(x.mean() - (1 - w_y - 2 * w_y)) < 4 * std / math.sqrt(n)
    assert float(x.std()) == pytest.approx(std, abs=4 * std / math.sqrt(2 * n))


def test_bridge_noise_peaks_where_documented() -> None:
    sigma = Bridge().weights(torch.linspace(0, 1, 1001))[2]
    assert float(sigma.max()) == pytest.approx(math.sqrt(float(Bridge().variance(1.0))) / 2, rel=1e-4)
    assert float(sigma.max()) == pytest.approx(0.55, abs=0.005)


@pytest.mark.parametrize("sde", [OUVE(), Bridge()])
@pytest.mark.parametrize("dtype", DTYPES)
def test_times_of_a_batch_act_on_their_own_example_and_keep_the_dtype(sde: OUVE | Bridge, dtype: torch.dtype) -> None:
    x0, y, z = (draw(3, 2, 4, seed=seed, dtype=dtype) for seed in range(3))
    t = torch.tensor([0.125, 0.5, 1.0])
    together = sde.perturb(x0, y, t, z)
    assert together.dtype == dtype
    for i in range(3):
        alone = sde.perturb(x0[i : i + 1], y[i : i + 1], float(t[i]), z[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("theta", [0.0, -1.0, math.nan])
def test_ouve_refuses_parameters_without_a_process(theta: float) -> None:
    with pytest.raises(UsageError, match="theta"):
        OUVE(theta=theta)
    with pytest.raises(UsageError, match="sigma_min"):
        OUVE(sigma_min=0.5, sigma_max=0.5)


@pytest.mark.parametrize(("k", "c"), [(1.0, 0.4), (2.6, 0.0), (math.nan, 0.4)])
def test_bridge_refuses_parameters_without_a_process(k: float, c: float) -> None:
    with pytest.raises(UsageError, match="k > 1"):
        Bridge(k=k, c=c)
