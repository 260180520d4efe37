"""The ``small`` diffusion network: a residual U-Net that predicts clean speech from a noisy state.

Its way of being score-based: with the data prediction in the place of the clean target, ``sde.OUVE.score`` is
the score, and the bridge's samplers take the prediction as it is. The separator's latents enter by
cross-attention at the bottleneck and at the next decoder level. Spectra are compressed complex
``(batch, bins, frames)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exdiff_cli.diffuse.attention import LatentAttention, LatentTokens, Memory
from exdiff_cli.extract.separator import Extraction

SCALE = 8.0
"""Brings compressed spectra of mixtures at the training level to about unit size."""


@dataclass(frozen=True)
class ScoreNetConfig:
    """Shape of the network; the defaults are the ``small`` preset, for the ``small`` separator's latents."""

    channels: tuple[int, ...] = (16, 24, 40, 64, 96)
    time_strides: tuple[int, ...] = (1, 1, 2, 1, 2)
    token_size: int = 96
    latent_channels: tuple[int, ...] = (48, 48)
    latent_bands: tuple[int, ...] = (8, 16)
    frames_per_second: float = 62.5
    concatenate_estimate: bool = True

    @property
    def stride(self) -> int:
        """Frames of the input that one frame of the bottleneck stands for."""
        return math.prod(self.time_strides)


@dataclass(frozen=True)
class Condition:
    """What the network looks at beside the state, made once a batch: spectra and attention memories."""

    mixture: Tensor
    estimate: Tensor
    memories: tuple[Memory, ...]


class Block(nn.Module):
    """Two 3x3 convolutions with a residual; the time modulates the second one's input."""

    def __init__(self, channels: int, time_size: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(4, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.norm = nn.GroupNorm(4, channels)
        self.time = nn.Linear(time_size, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm(self.first(x)) * (1 + scale) + shift
        return x + self.second(F.silu(hidden))


class TimeEmbedding(nn.Module):
    """Fourier features of the process time in [0, 1]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * 2.0 ** torch.arange(size // 8), persistent=False)
        self.frequencies: Tensor
        self.project = nn.Sequential(nn.Linear(size // 4, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())

    def forward(self, t: Tensor) -> Tensor:
        angles = t.float()[:, None] * self.frequencies / 4
        return self.project(torch.cat((angles.sin(), angles.cos()), dim=-1))


class DataPredictor(nn.Module):
    """Predicts the clean spectrum as a correction of the separator's estimate.

    A subclass sets ``tokens``, ``attentions``, ``stride`` (what frames are padded to a multiple of) and
    ``concatenate_estimate``, and computes the correction.
    """

    tokens: LatentTokens
    attentions: nn.ModuleList
    stride: int
    concatenate_estimate: bool

    def condition(self, mixture: Tensor, extraction: Extraction, keep_latents: Tensor | None = None) -> Condition:
        """Compute what stays the same over the steps.

        ``keep_latents`` ``(batch,)`` bool leaves the latents out for some rows: these attend to the null
        token alone.
        """
        keep = torch.ones(len(mixture), device=mixture.device) if keep_latents is None else keep_latents.float()
        tokens = self.tokens(extraction.latents)
        memories = tuple(cast(LatentAttention, layer).remember(tokens, keep) for layer in self.attentions)
        return Condition(mixture, extraction.estimate, memories)

    def forward(self, state: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the clean spectrum from ``state`` ``(batch, bins, frames)`` at times ``t`` ``(batch,)``."""
        parts = [state, condition.mixture]
        if self.concatenate_estimate:
            parts.append(condition.estimate)
        x = torch.cat([part for spectrum in parts for part in (spectrum.real[:, None], spectrum.imag[:, None])], dim=1)
        frames = x.shape[-1]
        x = F.pad(x * SCALE, (0, -frames % self.stride))
        correction = self.correct(x, t, condition.memories)[..., :frames].float() / SCALE
        return condition.estimate + torch.complex(correction[:, 0].contiguous(), correction[:, 1].contiguous())

    def correct(self, x: Tensor, t: Tensor, memories: tuple[Memory, ...]) -> Tensor:
        """Map the stacked spectra ``(batch, 4 or 6, bins, frames)`` to the correction ``(batch, 2, bins, frames)``."""
        raise NotImplementedError


class ScoreNet(DataPredictor):
    """The ``small`` network: a residual U-Net, striding over frequency at every level and over time at two."""

    def __init__(self, config: ScoreNetConfig | None = None, time_size: int = 64) -> None:
        super().__init__()
        self.config = config = config or ScoreNetConfig()
        self.stride, self.concatenate_estimate = config.stride, config.concatenate_estimate
        inputs = 6 if config.concatenate_estimate else 4
        widths = (inputs, *config.channels)
        strides = list(zip(widths[:-1], widths[1:], config.time_strides, strict=True))
        self.time = TimeEmbedding(time_size)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, (4, 3 if step == 1 else 4), stride=(2, step), padding=1) for a, b, step in strides
        )
        self.encoders = nn.ModuleList(Block(width, time_size) for width in config.channels)
        self.tokens = LatentTokens(config.latent_channels, config.latent_bands, 4, config.token_size)
        rate = config.frames_per_second / config.stride
        deepest, above = config.channels[-1], config.channels[-2]
        self.attentions = nn.ModuleList(
            (
                LatentAttention(deepest, config.token_size, rate),
                LatentAttention(above, config.token_size, rate * config.time_strides[-1]),
            )
        )
        self.middle = Block(deepest, time_size)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(b, a, (4, 3 if step == 1 else 4), stride=(2, step), padding=1)
            for a, b, step in reversed(strides[1:])
        )
        self.decoders = nn.ModuleList(Block(width, time_size) for width in reversed(config.channels[:-1]))
        self.head = nn.ConvTranspose2d(config.channels[0], 2, (4, 3), stride=(2, 1), padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def correct(self, x: Tensor, t: Tensor, memories: tuple[Memory, ...]) -> Tensor:
        time = self.time(t)
        skips: list[Tensor] = []
        for down, encoder in zip(self.downs, self.encoders, strict=True):
            x = encoder(down(x), time)
            skips.append(x)
        x = self.middle(self.attentions[0](x, memories[0]), time)
        skips.pop()
        for level, (up, decoder) in enumerate(zip(self.ups, self.decoders, strict=True)):
            x = up(x) + skips.pop()
            if level == 0:
                x = self.attentions[1](x, memories[1])
            x = decoder(x, time)
        return self.head(x)
