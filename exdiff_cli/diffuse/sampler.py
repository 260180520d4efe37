"""Samplers that run the processes of :mod:`exdiff_cli.diffuse.sde` backwards, from mixture to clean speech.

Models are plain functions, ``score_fn(x, t)`` or ``data_fn(x, t)``, of a state ``(batch, ...)`` and times
``(batch,)``; what else they look at (mixture, estimate, latents) is bound beforehand. Nothing here switches
gradients off, so that training can go through a few steps; callers wrap inference in
:func:`torch.inference_mode`.

**Noise comes from the caller**: ``noise(index)`` gives a standard tensor like the state (convention in
``sde``). Index 0 belongs to the start, drawn here or by the caller; every later draw has its own index, which
depends on the step alone. No operation mixes examples, so a segment's result follows from its own noise,
whatever batch it is in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count, pairwise
from typing import Literal

import torch
from torch import Tensor

from exdiff_cli.diffuse.sde import OUVE, Bridge
from exdiff_cli.errors import UsageError

Model = Callable[[Tensor, Tensor], Tensor]
Settled = Callable[[Tensor], Tensor]
Noise = Callable[[int], Tensor]
BridgeKind = Literal["sde", "ode"]

# Last time of the published bridge samplers (sp-uhh/sgmse).
BRIDGE_END = 1e-4


def _uniform(points: int, start: float, end: float) -> Tensor:
    if points < 1:
        raise UsageError(f"sampling needs at least 1 step, not {points}")
    if not 0 <= end < start <= 1:
        raise UsageError(f"sampling times descend within 1 to 0, not from {start} to {end}")
    return torch.linspace(start, end, points, dtype=torch.float64)


def schedule(steps: int, start: float = 1.0, end: float = BRIDGE_END) -> Tensor:
    """Uniform descending times ``(steps + 1,)`` from ``start`` to ``end``, the published samplers' spacing.

    With ``end = 0`` the last step of :func:`sample_bridge` returns the plain prediction. Raises
    :class:`UsageError` for less than one step, or unless ``0 <= end < start <= 1``.
    """
    return _uniform(steps + 1 if steps > 0 else 0, start, end)


def _batch_time(t: float, state: Tensor) -> Tensor:
    return torch.full((state.shape[0],), t, dtype=state.real.dtype, device=state.device)


def langevin_correct(score_fn: Model, x: Tensor, t: float, std: float, snr: float, noise: Tensor) -> Tensor:
    """One step of annealed Langevin dynamics at time ``t``, of size ``2 (snr * std)**2``.

    Form as in Song et al. 2021, "Score-Based Generative Modeling through Stochastic Differential Equations"
    (arXiv 2011.13456), its appendix on predictor-corrector samplers, with the step size of SGMSE+'s published
    code: it follows the process alone, never the norms of a batch.
    """
    size = 2 * (snr * std) ** 2
    return x + size * score_fn(x, _batch_time(t, x)) + math.sqrt(2 * size) * noise


def reverse_diffusion(score_fn: Model, x: Tensor, y: Tensor, sde: OUVE, t: float, dt: float) -> tuple[Tensor, float]:
    """Mean and noise scale of the state at ``t - dt`` by the reverse diffusion predictor.

    ``x - f + G**2 score`` and ``G``, with the forward step's ``f = drift dt`` and ``G = g(t) sqrt(dt)``; form
    as in Song et al. 2021, its appendix on reverse diffusion sampling.
    """
    scale = float(sde.diffusion(t)) * math.sqrt(dt)
    return x - sde.drift(x, y) * dt + scale**2 * score_fn(x, _batch_time(t, x)), scale


def sample_ouve_pc(
    score_fn: Model,
    y: Tensor,
    sde: OUVE,
    steps: int = 30,
    corrector_steps: int = 1,
    snr: float = 0.5,
    *,
    noise: Noise,
    t_eps: float = 0.03,
    x_start: Tensor | None = None,
    t_start: float = 1.0,
) -> Tensor:
    """Predictor-corrector sampler of SGMSE+: at each time Langevin steps, then one of reverse diffusion.

    ``steps`` uniform times from ``t_start`` to ``t_eps``, then 0: the mean of the last step, without noise,
    is returned, like ``y``. Form as in the published code of Richter et al. 2023. It evaluates the score
    ``steps * (corrector_steps + 1)`` times, 60 by default. The start is ``sde.prior(y, noise(0))``, or
    ``x_start`` at ``t_start``: a warm start is ``sde.perturb(estimate, y, t_start, noise(0))``. Raises
    :class:`UsageError` for less than one step, or unless ``0 < t_eps < t_start <= 1``.
    """
    if t_eps <= 0:
        raise UsageError(f"t_eps is {t_eps}; it must be above 0, where the score has no value")
    times = _uniform(steps, t_start, t_eps).tolist()
    x = sde.prior(y, noise(0)) if x_start is None else x_start
    draws = count(1)
    for t, following in pairwise([*times, 0.0]):
        std = float(sde.std(t))
        for _ in range(corrector_steps):
            x = langevin_correct(score_fn, x, t, std, snr, noise(next(draws)))
        x, scale = reverse_diffusion(score_fn, x, y, sde, t, t - following)
        if following > 0:
            x = x + scale * noise(next(draws))
    return x


def _sde_step(x: Tensor, data: Tensor, sde: Bridge, s: float, t: float) -> tuple[Tensor, float]:
    kept = float(sde.variance(t) / sde.variance(s))
    return data + kept * (x - data), math.sqrt(float(sde.variance(t)) * (1 - kept))


def _ode_step(x: Tensor, data: Tensor, y: Tensor, sde: Bridge, s: float, t: float) -> Tensor:
    # The three published weights have poles at s = 1, which cancel as x_1 = y. As a deviation from the
    # bridge's mean the step is the same for s < 1, and has none to carry on from s = 1.
    std_s, std_t = float(sde.weights(s)[2]), float(sde.weights(t)[2])
    mean = sde.mean(data, y, t)
    return mean if std_s == 0 else mean + std_t / std_s * (x - sde.mean(data, y, s))


def sample_bridge(
    data_fn: Model,
    x: Tensor,
    y: Tensor,
    sde: Bridge,
    times: Tensor,
    noise: Noise,
    kind: BridgeKind = "sde",
    settled: Settled | None = None,
) -> Tensor:
    """First-order bridge samplers for a data prediction, from ``x`` at ``times[0]`` to ``times[-1]``.

    ``data = data_fn(x_s, s)`` predicts the clean target from the state and that state's time. With
    ``sigma_t**2 = sde.variance(t)`` a step from ``s`` to a smaller ``t`` is, form as in Jukic et al. 2024 and
    Chen et al. 2023, their sections on sampling,

    - ``sde``: ``data + r (x_s - data) + sigma_t sqrt(1 - r) noise(step)``, ``r = sigma_t**2 / sigma_s**2``,
      where ``step`` counts from 1; the last step adds no noise, as in SGMSE's code;
    - ``ode``: ``m_t + std_t / std_s (x_s - m_s)``, where ``m_t = w_x data + w_y y`` and ``std_t`` are the
      bridge's mean and deviation given the prediction. It draws no noise; from ``s = 1``, where ``x = y``, it
      is ``m_t``.

    Rows ``(batch,)`` of which ``settled`` says that a prediction is as good as the last are that prediction; where all
    are, no more of them is asked for.

    So one step from t = 1 gives ``w_x(t) data_fn(y, 1) + w_y(t) y`` either way, and where the last time is 0
    the result is the plain last prediction. ``times`` is 1-D and descending (:func:`schedule`). Raises
    :class:`UsageError` for an unknown ``kind``.
    """
    if kind not in ("sde", "ode"):
        raise UsageError(f"no bridge sampler {kind!r}; use sde or ode")
    last, done = len(times) - 1, torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for step, (s, t) in enumerate(pairwise(times.tolist()), start=1):
        data = data_fn(x, _batch_time(s, x))
        if kind == "ode":
            following = _ode_step(x, data, y, sde, s, t)
        else:
            following, scale = _sde_step(x, data, sde, s, t)
            if step < last:
                following = following + scale * noise(step)
        if settled is not None:
            new = settled(data) & ~done
            following = _by_row(done, x, _by_row(new, data, following))
            done |= new
        x = following
        if settled is not None and step < last and bool(done.all()):  # for which a GPU is waited for
            break
    return x


def _by_row(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(chosen.reshape(-1, *[1] * (one.dim() - 1)), one, other)
