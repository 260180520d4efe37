"""The samplers on Gaussian targets, where the exact model and the exact result are known.

The target given the mixture is normal around ``centre(y)`` with variance ``V``. The models below are
exact and use the published constants written out, not the code under test, so a wrong process shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from exdiff_cli.diffuse.sampler import (
    BRIDGE_END,
    BridgeKind,
    langevin_correct,
    sample_bridge,
    sample_ouve_pc,
    schedule,
)
from exdiff_cli.diffuse.sde import OUVE, Bridge
from exdiff_cli.errors import UsageError

N = 40_000
V = 0.25
DTYPES = [torch.float32, torch.complex64]
BRIDGE, PROCESS = Bridge(), OUVE()
Moments = tuple[float, float]
# four Monte-Carlo errors of a mean and of a variance (the real one's, the larger) over N draws
MEAN_ERROR = 4 * math.sqrt(V / N)
VAR_ERROR = 4 * V * math.sqrt(2 / N)
# first-order steps leave an error too, at worst (the bridge's SDE) about 7 / steps of the variance
STEPS, BIAS = 300, 0.025


def centre(y: Tensor) -> Tensor:
    return 0.4 + 0.5 * y


def noise_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Callable[[int], Tensor]:
    def noise(index: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(1000 + index), dtype=dtype)

    return noise


def mixture(dtype: torch.dtype = torch.float32, n: int = N) -> Tensor:
    return torch.randn(4, n // 4, generator=torch.Generator().manual_seed(7), dtype=dtype)


def exact_data(y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Posterior mean of the target under the bridge with k = 2.6, c = 0.4, finite at t = 1 too."""
    total = 0.4 * (2.6**2 - 1) / (2 * math.log(2.6))

    def data_fn(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x),)
        w_y = ((2.6 ** (2 * t) - 1) / (2.6**2 - 1))[:, None]
        gain = V / (V * (1 - w_y) + w_y * total)
        return centre(y) + gain * (x - (1 - w_y) * centre(y) - w_y * y)

    return data_fn


def ouve_moments(t: Tensor) -> tuple[Tensor, Tensor]:
    """Weight of the target in the mean, and variance given the mixture, at theta 1.5, sigma 0.05 to 0.5."""
    decay = torch.exp(-1.5 * t)
    process = 0.05**2 * (100**t - decay**2) * math.log(10) / (1.5 + math.log(10))
    return decay, decay**2 * V + process


def exact_score(y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def score_fn(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x),)
        decay, variance = (moment[:, None] for moment in ouve_moments(t))
        return (y + decay * (centre(y) - y) - x) / variance

    return score_fn


def residual_moments(x: Tensor, y: Tensor) -> Moments:
    """Distance of the mean from the exact one, and total variance around it."""
    residual = x - centre(y)
    return float(residual.mean().abs()), float(residual.abs().square().mean())


def bridge_sde(steps: int, dtype: torch.dtype = torch.float32, sde: Bridge = BRIDGE) -> Moments:
    y = mixture(dtype)
    noise = noise_of(tuple(y.shape), dtype)
    return residual_moments(sample_bridge(exact_data(y), y, y, sde, schedule(steps, end=0.0), noise), y)


def bridge_ode(steps: int, dtype: torch.dtype = torch.float32, sde: Bridge = BRIDGE) -> Moments:
    """From t = 0.5, where the exact state has spread; from t = 1 there is none for an ODE to carry."""
    y = mixture(dtype)
    noise = noise_of(tuple(y.shape), dtype)
    start = sde.perturb(centre(y) + math.sqrt(V) * noise(1), y, 0.5, noise(0))
    times = schedule(steps, 0.5, 0.0)
    return residual_moments(sample_bridge(exact_data(y), start, y, sde, times, noise, "ode"), y)


def ouve(
    steps: int,
    dtype: torch.dtype = torch.float32,
    sde: OUVE = PROCESS,
    corrector_steps: int = 0,
    snr: float = 0.5,
) -> Moments:
    """From the exact state at t = 1, so that what is left is the sampler's error."""
    y = mixture(dtype)
    noise = noise_of(tuple(y.shape), dtype)
    decay, variance = ouve_moments(torch.tensor(1.0))
    start = y + decay * (centre(y) - y) + variance.sqrt() * noise(0)
    x = sample_ouve_pc(exact_score(y), y, sde, steps, corrector_steps, snr, noise=noise, t_eps=0.01, x_start=start)
    return residual_moments(x, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampler", [bridge_sde, bridge_ode, ouve])
def test_many_steps_give_the_exact_mean_and_variance(
    sampler: Callable[[int, torch.dtype], Moments], dtype: torch.dtype
) -> None:
    mean_error, variance = sampler(STEPS, dtype)
    assert mean_error < MEAN_ERROR + BIAS
    assert variance == pytest.approx(V, abs=VAR_ERROR + BIAS * V)


@pytest.mark.parametrize("sampler", [bridge_sde, bridge_ode, ouve])
def test_error_shrinks_with_steps(sampler: Callable[[int], Moments]) -> None:
    def error(steps: int) -> float:
        mean_error, variance = sampler(steps)
        return max(mean_error, abs(variance - V))

    few, more, many = (error(steps) for steps in (4, 16, 64))
    assert few > 3 * VAR_ERROR, "too small an error at 4 steps to see it shrink"
    assert more < few / 2
    assert many < more / 2 + VAR_ERROR


@pytest.mark.parametrize(
    ("sampler", "wrong"),
    [
        (bridge_sde, Bridge(k=4.0)),
        (bridge_ode, Bridge(k=4.0)),
        (bridge_sde, Bridge(c=0.2)),
        (ouve, OUVE(theta=1.0)),
        (ouve, OUVE(sigma_max=0.6)),
    ],
)
def test_a_wrong_process_is_noticed(sampler: Callable[..., Moments], wrong: Bridge | OUVE) -> None:
    mean_error, variance = sampler(STEPS, sde=wrong)
    assert mean_error > MEAN_ERROR + BIAS or abs(variance - V) > VAR_ERROR + BIAS * V


def test_langevin_step_has_the_published_size() -> None:
    x, z = mixture(n=40), noise_of((4, 10))(0)
    moved = langevin_correct(lambda x, t: -3.0 * x, x, 0.5, std=0.2, snr=0.5, noise=z)
    torch.testing.assert_close(moved, x - 0.02 * 3.0 * x + 0.2 * z)


def test_ouve_corrector_keeps_the_target_at_a_small_step() -> None:
    mean_error, variance = ouve(STEPS, corrector_steps=2, snr=0.1)
    assert mean_error < MEAN_ERROR + BIAS
    assert variance == pytest.approx(V, abs=VAR_ERROR + BIAS * V)


def test_ouve_corrector_repairs_a_start_off_the_target() -> None:
    y = mixture()
    noise = noise_of(tuple(y.shape))

    def error(corrector_steps: int) -> float:
        x = sample_ouve_pc(exact_score(y), y, OUVE(), 30, corrector_steps, noise=noise)
        return residual_moments(x, y)[0]

    # the prior leaves exp(-theta) of the target out of the mean
    assert error(0) > 2 * MEAN_ERROR
    assert error(1) < error(0) / 2


def test_ouve_steps_follow_the_exact_recursion() -> None:
    """On a Gaussian every step is affine in the state: 30 + 30 of them, in numbers, give the variance."""
    variance = float(ouve_moments(torch.tensor(1.0))[1])
    times = [*torch.linspace(1, 0.01, 30).tolist(), 0.0]
    for t, following in pairwise(times):
        decay, spread = ouve_moments(torch.tensor(t))
        size = 0.5 * float(spread - decay**2 * V)
        variance = (1 - size / float(spread)) ** 2 * variance + 2 * size
        dt, g2 = t - following, (0.05 * 10**t) ** 2 * 2 * math.log(10)
        variance = (1 + 1.5 * dt - g2 * dt / float(spread)) ** 2 * variance + (g2 * dt if following else 0)
    assert ouve(30, corrector_steps=1)[1] == pytest.approx(variance, abs=VAR_ERROR)


def test_bridge_ode_from_the_mixture_is_the_posterior_mean() -> None:
    y = mixture(n=400)
    for steps in (1, 3, 8):
        x = sample_bridge(exact_data(y), y, y, Bridge(), schedule(steps, end=0.0), noise_of((4, 100)), "ode")
        torch.testing.assert_close(x, centre(y), rtol=1e-4, atol=1e-4)


def test_bridge_ode_steps_are_the_published_weighted_sum() -> None:
    x, y, data = (torch.randn(3, 5, dtype=torch.complex128) for _ in range(3))
    sde, s, t = Bridge(), 0.8, 0.3
    (a_t, a_s), whole = ((float(sde.variance(u)) for u in (t, s)), float(sde.variance(1.0)))
    sig_t, sig_s, bar_t, bar_s = (math.sqrt(v) for v in (a_t, a_s, whole - a_t, whole - a_s))
    expected = (
        sig_t * bar_t / (sig_s * bar_s) * x
        + (bar_t**2 - bar_s * sig_t * bar_t / sig_s) / whole * data
        + (sig_t**2 - sig_s * sig_t * bar_t / bar_s) / whole * y
    )
    times = torch.tensor([s, t], dtype=torch.float64)
    got = sample_bridge(lambda *_: data, x, y, sde, times, lambda _: x, "ode")
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", ["sde", "ode"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_step_from_the_mixture_is_the_plain_prediction(kind: BridgeKind, dtype: torch.dtype) -> None:
    y = mixture(dtype, 40)
    seen: list[float] = []

    def data_fn(x: Tensor, t: Tensor) -> Tensor:
        assert torch.equal(x, y)
        seen.extend(t.tolist())
        return 0.3 * x + 0.1

    def run(end: float) -> Tensor:
        return sample_bridge(data_fn, y, y, Bridge(), schedule(1, end=end), noise_of((4, 10), dtype), kind)

    assert torch.equal(run(0.0), 0.3 * y + 0.1)
    torch.testing.assert_close(run(0.25), Bridge().mean(0.3 * y + 0.1, y, 0.25))
    assert seen == [1.0] * 8


@pytest.mark.parametrize("kind", ["sde", "ode"])
def test_a_perfect_prediction_is_returned_from_any_start(kind: BridgeKind) -> None:
    y, clean = mixture(n=40), mixture(n=44)[:, :10]
    for start in (1.0, 0.5):
        x = Bridge().warm_start(centre(y), y, start, noise_of((4, 10))(0))
        times = schedule(5, start, 0.0)
        result = sample_bridge(lambda *_: clean, x, y, Bridge(), times, noise_of((4, 10)), kind)
        assert torch.equal(result, clean)


def test_each_draw_has_its_own_index_and_the_start_has_nought() -> None:
    y = mixture(n=40)
    drawn: list[int] = []

    def noise(index: int) -> Tensor:
        drawn.append(index)
        return noise_of((4, 10))(index)

    def take() -> list[int]:
        taken = list(drawn)
        drawn.clear()
        return taken

    sample_bridge(exact_data(y), y, y, Bridge(), schedule(4), noise)
    assert take() == [1, 2, 3]
    sample_bridge(exact_data(y), y, y, Bridge(), schedule(4), noise, "ode")
    assert take() == []
    sample_ouve_pc(exact_score(y), y, OUVE(), 3, noise=noise)
    assert take() == [0, 1, 2, 3, 4, 5]
    sample_ouve_pc(exact_score(y), y, OUVE(), 3, noise=noise, x_start=y, t_start=0.6)
    assert take() == [1, 2, 3, 4, 5]


def test_thirty_steps_are_sixty_evaluations_from_one_down_to_t_eps() -> None:
    y, times = mixture(n=40), []

    def score_fn(x: Tensor, t: Tensor) -> Tensor:
        times.append(float(t[0]))
        return exact_score(y)(x, t)

    sample_ouve_pc(score_fn, y, OUVE(), noise=noise_of((4, 10)))
    assert len(times) == 60
    assert times[0] == 1.0
    assert times[-1] == pytest.approx(0.03)
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("kind", ["sde", "ode", None])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_example_is_bit_equal_alone_and_in_a_batch(kind: BridgeKind | None, dtype: torch.dtype) -> None:
    y = mixture(dtype, 4 * 37)
    noise = noise_of((4, 37), dtype)

    def run(rows: slice) -> Tensor:
        part = y[rows]
        if kind is None:
            return sample_ouve_pc(exact_score(part), part, OUVE(), 5, noise=lambda i: noise(i)[rows])
        x = Bridge().warm_start(centre(part), part, 0.7, noise(0)[rows])
        times = schedule(5, 0.7)
        return sample_bridge(exact_data(part), x, part, Bridge(), times, lambda i: noise(i)[rows], kind)

    whole = run(slice(0, 4))
    assert whole.dtype == dtype
    for i in range(4):
        assert torch.equal(run(slice(i, i + 1)), whole[i : i + 1])


def test_gradients_pass_through_the_steps() -> None:
    y = mixture(n=40)
    scale = torch.tensor(0.5, requires_grad=True)
    x = sample_bridge(lambda x, t: scale * x, y, y, Bridge(), schedule(3), noise_of((4, 10)))
    (gradient,) = torch.autograd.grad(x.square().mean(), scale)
    assert bool(gradient.isfinite())
    assert float(gradient) != 0


def test_schedule_is_uniform_from_start_to_end() -> None:
    assert schedule(4, end=0.0).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    times = schedule(5, 0.5)
    assert len(times) == 6
    assert (float(times[0]), float(times[-1])) == (0.5, BRIDGE_END)


@pytest.mark.parametrize(("steps", "start", "end"), [(0, 1.0, 0.0), (-3, 1.0, 0.0), (2, 0.3, 0.5), (2, 1.2, 0)])
def test_times_that_cannot_be_are_refused(steps: int, start: float, end: float) -> None:
    with pytest.raises(UsageError, match="sampling"):
        schedule(steps, start, end)


def test_options_that_cannot_be_are_refused() -> None:
    y = mixture(n=40)
    noise = noise_of((4, 10))
    with pytest.raises(UsageError, match="sde or ode"):
        sample_bridge(exact_data(y), y, y, Bridge(), schedule(1), noise, "heun")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="t_eps"):
        sample_ouve_pc(exact_score(y), y, OUVE(), noise=noise, t_eps=0.0)
    with pytest.raises(UsageError, match="at least 1 step"):
        sample_ouve_pc(exact_score(y), y, OUVE(), 0, noise=noise)


@pytest.mark.parametrize("kind", ["sde", "ode"])
def test_rows_that_have_settled_keep_their_prediction_and_cost_nothing_more(kind: BridgeKind) -> None:
    """Whichever others are in the batch."""
    y, asked = mixture()[:3], list[float]()

    def data_fn(x: Tensor, t: Tensor) -> Tensor:
        asked.append(float(t[0]))
        return 0.9 * x + t[:, None]

    def run(rows: Tensor) -> Tensor:
        asked.clear()
        times = schedule(3, 0.5, end=0.0)
        return sample_bridge(data_fn, y, y, BRIDGE, times, lambda _: 0.1 * y, kind, lambda data: rows)

    all_steps = run(torch.tensor([False, False, False]))
    assert len(asked) == 3
    some = run(torch.tensor([False, True, False]))
    assert len(asked) == 3
    torch.testing.assert_close(some[[0, 2]], all_steps[[0, 2]])
    torch.testing.assert_close(some[1], 0.9 * y[1] + 0.5)
    none = run(torch.tensor([True, True, True]))
    assert asked == [0.5]
    torch.testing.assert_close(none, 0.9 * y + 0.5)
