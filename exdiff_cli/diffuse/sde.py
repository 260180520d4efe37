"""The two processes that lead from clean speech to the mixture: OUVE and the Schroedinger bridge.

States are real or complex tensors ``(batch, ...)``; a time is a float or a ``(batch,)`` tensor in [0, 1],
where 0 is the clean target ``x0`` and 1 the mixture ``y`` (for OUVE: near it, plus noise).

**Noise convention.** ``noise`` is standard as :func:`torch.randn` draws it in the state's dtype: variance 1
for real tensors; for complex ones a *total* variance of 1, so 1/2 in each of the real and imaginary part.
Every standard deviation here is the total one, as in the published code of SGMSE+
(github.com/sp-uhh/sgmse); that of one component is smaller by sqrt(2). A complex score is the Wirtinger
gradient ``-(x - mean) / std**2``, half the gradient over the real and imaginary part. As the noise too has
half its variance in each component, reverse process and Langevin steps read the same for real and complex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from exdiff_cli.errors import UsageError

Time = float | Tensor


def _as_time(t: Time) -> Tensor:
    # float64, as near both ends the weights are small differences of exponentials; these are a few scalars
    return torch.as_tensor(t, dtype=torch.float64)


def _expand(weight: Tensor, state: Tensor) -> Tensor:
    """A scalar or ``(batch,)`` weight, made ready to multiply a ``state`` ``(batch, ...)``."""
    weight = weight.to(state.real.dtype)
    if weight.ndim == 0:
        return weight
    return weight.to(state.device).reshape(-1, *(1,) * (state.ndim - 1))


@dataclass(frozen=True)
class OUVE:
    """Ornstein-Uhlenbeck process with exploding variance, the forward process of SGMSE+.

    ``dx = theta (y - x) dt + g(t) dw``, ``g(t) = sigma_min r**t sqrt(2 log r)``, ``r = sigma_max/sigma_min``:
    form as in Richter et al. 2023, "Speech Enhancement and Dereverberation with Diffusion-based Generative
    Models" (arXiv 2208.05830), its section on the stochastic process. Raises :class:`UsageError` for
    parameters without a process.
    """

    theta: float = 1.5
    sigma_min: float = 0.05
    sigma_max: float = 0.5

    def __post_init__(self) -> None:
        if not (self.theta > 0 and 0 < self.sigma_min < self.sigma_max):
            raise UsageError(f"{self}: give theta > 0 and 0 < sigma_min < sigma_max")

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def drift(self, x: Tensor, y: Tensor) -> Tensor:
        """Drift ``theta (y - x)`` of the state ``x`` towards the mixture ``y``, per unit of time."""
        return self.theta * (y - x)

    def diffusion(self, t: Time) -> Tensor:
        """Diffusion coefficient ``g(t)``, float64 in the shape of ``t``."""
        sigma = self.sigma_min * torch.exp(self._log_ratio * _as_time(t))
        return sigma * math.sqrt(2 * self._log_ratio)

    def mean(self, x0: Tensor, y: Tensor, t: Time) -> Tensor:
        """Mean of ``x_t`` given ``x0`` and ``y``: from ``x0`` at t = 0 it decays towards ``y``."""
        return y + _expand(torch.exp(-self.theta * _as_time(t)), y) * (x0 - y)

    def std(self, t: Time) -> Tensor:
        """Standard deviation of ``x_t`` given ``x0`` and ``y``, float64 in the shape of ``t``.

        The solution of ``dV/dt = -2 theta V + g(t)**2``, ``V(0) = 0``; form as in the section cited above.
        """
        time, rate = _as_time(t), self.theta + self._log_ratio
        growth = torch.exp(-2 * self.theta * time) * torch.expm1(2 * rate * time)
        return self.sigma_min * torch.sqrt(growth * (self._log_ratio / rate))

    def perturb(self, x0: Tensor, y: Tensor, t: Time, noise: Tensor) -> Tensor:
        """Draw ``x_t`` given ``x0`` and ``y``; with an estimate for ``x0`` it is a warm start at ``t``."""
        return self.mean(x0, y, t) + _expand(self.std(t), y) * noise

    def prior(self, y: Tensor, noise: Tensor) -> Tensor:
        """Where sampling starts without an estimate: ``y`` plus noise of the deviation at t = 1.

        The exact mean at t = 1 still holds ``exp(-theta)`` of ``x0``, 22 % by default; leaving that out is
        the published approximation.
        """
        return y + _expand(self.std(1.0), y) * noise

    def score(self, x: Tensor, x0: Tensor, y: Tensor, t: Time) -> Tensor:
        """Score of ``x_t`` given ``x0`` and ``y``, for t > 0.

        At ``x = perturb(x0, y, t, noise)`` it is ``-noise / std(t)``, the target of denoising score matching;
        with a prediction in the place of ``x0`` it turns a data prediction into a score.
        """
        return (self.mean(x0, y, t) - x) / _expand(self.std(t) ** 2, x)


def score_matching_loss(score: Tensor, noise: Tensor, std: Tensor) -> Tensor:
    """Denoising score matching weighted by the variance: the mean of ``|std * score + noise|**2``, a scalar.

    Form as in Richter et al. 2023, its section on the training objective, except that the published code sums
    over an example and halves; the mean does not depend on how long segments are. ``std`` is a scalar or
    ``(batch,)``.
    """
    return (_expand(std, score) * score + noise).abs().square().mean()


@dataclass(frozen=True)
class Bridge:
    """Schroedinger bridge, variance-exploding: ``x0`` at t = 0, ``y`` at t = 1, noise in between.

    ``f = 0``, ``g(t)**2 = c k**(2t)``: Jukic et al. 2024, "Schroedinger Bridge for Generative Speech
    Enhancement" (arXiv 2407.16074), table 1, and eq. (11) for the marginal; after Chen et al. 2023,
    "Schrodinger Bridges Beat Diffusion Models on Text-to-Speech Synthesis" (arXiv 2312.03491). ``c`` scales
    the noise and nothing else: the deviation peaks at ``sqrt(variance(1)) / 2``, 0.55 by default. Raises
    :class:`UsageError` for parameters without a process.
    """

    k: float = 2.6
    c: float = 0.4

    def __post_init__(self) -> None:
        if not (self.k > 1 and self.c > 0):
            raise UsageError(f"{self}: give k > 1 and c > 0")

    def diffusion(self, t: Time) -> Tensor:
        """Diffusion coefficient ``g(t)``, float64 in the shape of ``t``."""
        return math.sqrt(self.c) * torch.exp(math.log(self.k) * _as_time(t))

    def variance(self, t: Time) -> Tensor:
        """``sigma_t**2``, the integral of ``g**2`` from 0 to ``t``; float64 in the shape of ``t``."""
        rate = 2 * math.log(self.k)
        return self.c / rate * torch.expm1(rate * _as_time(t))

    def weights(self, t: Time) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of ``x0``, of ``y`` and of the noise in ``x_t``, each float64 in the shape of ``t``.

        ``w_y = sigma_t**2 / sigma_1**2``, ``w_x = 1 - w_y``; the noise's ``sigma_t sigma_bar_t / sigma_1`` is
        ``sigma_1 sqrt(w_x w_y)``. They are exactly (1, 0, 0) at t = 0 and (0, 1, 0) at t = 1.
        """
        variance = self.variance(t)
        # in the shape of t, so that at t = 1 both sides of the quotient come from one kernel and are equal
        total = self.variance(torch.ones_like(variance))
        w_y = variance / total
        w_x = 1 - w_y
        return w_x, w_y, torch.sqrt(total * w_x * w_y)

    def mean(self, x0: Tensor, y: Tensor, t: Time) -> Tensor:
        """Mean ``w_x x0 + w_y y`` of ``x_t`` given both ends."""
        w_x, w_y, _ = self.weights(t)
        return _expand(w_x, y) * x0 + _expand(w_y, y) * y

    def perturb(self, x0: Tensor, y: Tensor, t: Time, noise: Tensor) -> Tensor:
        """Draw ``x_t`` given both ends (Jukic et al. 2024, eq. (11))."""
        return self.mean(x0, y, t) + _expand(self.weights(t)[2], y) * noise

    def warm_start(self, estimate: Tensor, y: Tensor, t_s: Time, noise: Tensor) -> Tensor:
        """A start at ``t_s`` with ``estimate`` for the clean target; at ``t_s = 1`` it is ``y`` exactly.

        To start late from a predictive estimate is StoRM's idea (Lemercier et al. 2023, arXiv 2212.11851),
        carried over to the bridge.
        """
        return self.perturb(estimate, y, t_s, noise)
