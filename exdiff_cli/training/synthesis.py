"""Generated sound: industrial and channel noises, rooms and telephone lines, made in batches on any device.

Every function draws from the ``torch.Generator`` that it is given and returns ``(count, samples)`` float
tensors of roughly unit level unless it says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Draw:
    """A source of random numbers on one device."""

    generator: torch.Generator
    sample_rate: int = 16_000

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, count: int, probability: float) -> Tensor:
        return self.uniform(count) < probability

    def integers(self, count: int, high: int) -> Tensor:
        return torch.randint(high, (count,), generator=self.generator, device=self.device)


def unit_level(signal: Tensor) -> Tensor:
    """Scale each row to an RMS of one; silence stays silent."""
    return signal / signal.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


def smooth_curve(draw: Draw, count: int, knots: int, samples: int) -> Tensor:
    """Random curves through ``knots`` normal values, ``(count, samples)``."""
    values = draw.normal(count, 1, knots)
    return F.interpolate(values, samples, mode="linear", align_corners=True)[:, 0]


def fft_convolve(signal: Tensor, response: Tensor) -> Tensor:
    """Convolve rows and keep the signal's length."""
    size = signal.shape[-1] + response.shape[-1]
    spectrum = torch.fft.rfft(signal, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[..., : signal.shape[-1]]


def equalise(draw: Draw, signal: Tensor, decibels: float) -> Tensor:
    """Filter each row with a random smooth response over log frequency of ``decibels`` standard deviation."""
    samples = signal.shape[-1]
    bins = samples // 2 + 1
    curve = smooth_curve(draw, len(signal), 8, 256)
    octave = torch.linspace(0, 1, bins, device=signal.device).mul(255).add(1).log2() / 8
    position = (octave * 255).clamp(0, 254.999)
    lower = position.long()
    response = torch.lerp(curve[:, lower], curve[:, lower + 1], (position - lower)[None])
    gain = 10 ** (response * decibels / 20)
    return torch.fft.irfft(torch.fft.rfft(signal) * gain, samples)


def modulation(draw: Draw, count: int, samples: int) -> Tensor:
    """A slowly varying gain around one, from still to strongly fluctuating."""
    knots = int(2 + draw.uniform(1).item() * 6 * samples / draw.sample_rate)
    depth = draw.uniform(count, 1, high=0.8)
    return (smooth_curve(draw, count, knots, samples) * depth).exp()


def coloured_noise(draw: Draw, count: int, samples: int) -> Tensor:
    """Air, fans and hiss: noise with a random spectral tilt and shape, modulated."""
    white = draw.normal(count, samples)
    frequency = torch.arange(samples // 2 + 1, device=draw.device).clamp_min(1) * draw.sample_rate / samples
    tilt = draw.uniform(count, 1, low=-1.2, high=0.5)
    tilted = torch.fft.irfft(torch.fft.rfft(white) * (frequency.clamp_min(50) / 1000) ** tilt, samples)
    return unit_level(equalise(draw, tilted, 8.0) * modulation(draw, count, samples))


def rumble(draw: Draw, count: int, samples: int) -> Tensor:
    """Vehicles, wind and handling: noise that lies so low that most of a voice stands clear of it, swelling."""
    frequency = torch.arange(samples // 2 + 1, device=draw.device) * draw.sample_rate / samples
    tilt, corner = draw.uniform(count, 1, low=-3.0, high=-1.0), draw.log_uniform(count, 1, low=20, high=200)
    spectrum = torch.fft.rfft(draw.normal(count, samples)) * (frequency / corner + 1) ** tilt
    return unit_level(equalise(draw, torch.fft.irfft(spectrum, samples), 4.0) * modulation(draw, count, samples))


def smear(draw: Draw, signal: Tensor) -> Tensor:
    """Blur each row in time by decaying noise of 30 to 500 ms, with no direct sound."""
    time = torch.arange(draw.sample_rate // 2, device=draw.device) / draw.sample_rate
    decay = draw.log_uniform(len(signal), 1, low=0.03, high=0.5)
    return fft_convolve(signal, draw.normal(len(signal), len(time)) * 10 ** (-3 * time / decay))


def machine_noise(draw: Draw, count: int, samples: int, harmonics: int = 20) -> Tensor:
    """Motors, transformers and mains: drifting harmonics, modulated by rotation, over coloured noise."""
    time = torch.arange(samples, device=draw.device) / draw.sample_rate
    drift = 1 + 0.02 * smooth_curve(draw, count, 4, samples)
    phase = 2 * math.pi * (draw.log_uniform(count, 1, low=25, high=500) * drift / draw.sample_rate).cumsum(-1)
    signal = torch.zeros(count, samples, device=draw.device)
    decay = draw.uniform(count, low=0.2, high=1.2)
    for order in range(1, harmonics + 1):
        gain = draw.normal(count) * order**-decay
        signal += gain[:, None] * torch.sin(order * phase + 2 * math.pi * draw.uniform(count, 1))
    rate = draw.log_uniform(count, 1, low=0.5, high=30)
    signal = signal * (1 + draw.uniform(count, 1) * torch.cos(2 * math.pi * rate * time))
    bed = coloured_noise(draw, count, samples) * draw.uniform(count, 1, high=0.8)
    return unit_level(unit_level(signal) + bed)


def impacts(draw: Draw, count: int, samples: int, modes: int = 5) -> Tensor:
    """Hammering, dishes and dropped tools: random strokes that ring in a few damped modes."""
    per_second = draw.log_uniform(count, 1, low=0.7, high=12)
    strokes = (draw.uniform(count, samples) < per_second / draw.sample_rate).float() * draw.normal(count, samples)
    time = torch.arange(draw.sample_rate // 2, device=draw.device) / draw.sample_rate
    frequency = draw.log_uniform(count, modes, 1, low=150, high=7000)
    ring = draw.log_uniform(count, modes, 1, low=0.003, high=0.12)
    tones = torch.sin(2 * math.pi * frequency * time) * (-time / ring).exp() * draw.normal(count, modes, 1)
    burst = draw.normal(count, len(time)) * (-time / draw.log_uniform(count, 1, low=0.001, high=0.02)).exp()
    bed = 0.02 * coloured_noise(draw, count, samples)
    return unit_level(fft_convolve(strokes, tones.sum(1) + burst) + bed)


def room_responses(draw: Draw, count: int, early_seconds: float = 0.03) -> tuple[Tensor, Tensor]:
    """Synthetic room impulse responses ``(count, taps)``, whole and with only their early part."""
    taps = int(0.5 * draw.sample_rate)
    time = torch.arange(taps, device=draw.device) / draw.sample_rate
    reverberation = draw.uniform(count, 1, low=0.12, high=0.7)
    tail = draw.normal(count, taps) * 10 ** (-3 * time / reverberation)
    tail[:, : int(0.002 * draw.sample_rate)] = 0
    strength = draw.log_uniform(count, 1, low=0.1, high=1.0)
    response = strength * tail / tail.square().sum(-1, keepdim=True).sqrt()
    response[:, 0] = 1
    early = response.clone()
    early[:, int(early_seconds * draw.sample_rate) :] = 0
    return response, early


def telephone_band(draw: Draw, count: int, samples: int) -> Tensor:
    """Gains ``(count, samples // 2 + 1)`` of a telephone line: about 300 to 3400 Hz with soft edges."""
    frequency = torch.arange(samples // 2 + 1, device=draw.device) * draw.sample_rate / samples
    low = draw.uniform(count, 1, low=80, high=350)
    high = draw.uniform(count, 1, low=3200, high=3900)
    return ((frequency - low) / 40).sigmoid() * ((high - frequency) / 60).sigmoid()


def mu_law(signal: Tensor, levels: int = 256) -> Tensor:
    """Quantise as ITU-T G.711 does, on signals of peak one or less."""
    mu = levels - 1
    companded = signal.sign() * torch.log1p(mu * signal.abs()) / math.log1p(mu)
    half = levels // 2
    quantised = (companded * half).round().clamp(-half, half - 1) / half
    return quantised.sign() * ((1 + mu) ** quantised.abs() - 1) / mu
