"""The ``base`` score network: NCSN++ as SGMSE+ sets it up for 16 kHz (Richter et al. 2023, arXiv 2208.05830).

NCSN++ is of Song et al. 2021 (arXiv 2011.13456, appendix H): a U-Net of BigGAN-type residual blocks whose
resampling filters with the kernel (1, 3, 3, 1); the shrunken input joins every encoder level (input skip,
summed), and every decoder level adds to an output that is enlarged on the way (output skip). Seven levels of
128 and 256 channels, self-attention where 16 bands are left and at the bottleneck, and time as Gaussian
Fourier features of ``log t`` of scale 16: the values of github.com/sp-uhh/sgmse, sgmse/backbones/ncsnpp.py.
It has 65 590 694 trainable parameters; the authors state 65 M (issue 11 there). Every residual branch and
output starts near zero, as in the source; the last 1x1 layer starts like the others, with zero biases, where
the source keeps the library's random start.

Tensors are ``(batch, channels, bands, frames)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exdiff_cli.audio.spectral import BASE

NEAR_ZERO = 1e-10
"""Variance scale of layers that start switched off; above zero, so that gradients pass them at once."""
EARLIEST = 1e-5
"""Times are raised to this before their logarithm; the published processes stop at 0.03."""


Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def scaled_init(layer: Layer, scale: float = 1.0) -> Layer:
    """Uniform weights of variance ``scale`` over the mean of fan in and fan out, and zero biases."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(inputs: int, outputs: int, size: int, scale: float = 1.0) -> nn.Conv2d:
    """A convolution that keeps the bands and frames."""
    return scaled_init(nn.Conv2d(inputs, outputs, size, padding=size // 2), scale)


def group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups of at least four channels."""
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


class TimeEmbedding(nn.Module):
    """Times ``(batch,)`` to ``(batch, 4 * features)`` by random Fourier features of their logarithm."""

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.randn(features) * scale)
        self.expand = scaled_init(nn.Linear(2 * features, 4 * features))
        self.mix = scaled_init(nn.Linear(4 * features, 4 * features))

    def forward(self, t: Tensor) -> Tensor:
        angles = 2 * math.pi * t.clamp_min(EARLIEST).log()[:, None] * self.frequencies
        waves = torch.cat((angles.sin(), angles.cos()), dim=-1)
        return self.mix(F.silu(self.expand(waves)))


class Halve(nn.Module):
    """Smooth by the FIR kernel and keep every second band and frame."""

    gain = 1.0

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.kernel: Tensor
        self.register_buffer("kernel", self.gain * taps[:, None] * taps, persistent=False)

    def weight(self, channels: int) -> Tensor:
        return self.kernel.expand(channels, 1, -1, -1)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(x, self.weight(channels), stride=2, padding=1, groups=channels)


class Double(Halve):
    """Put zeros between bands and between frames and smooth by the FIR kernel; constants keep their value."""

    gain = 4.0

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv_transpose2d(x, self.weight(channels), stride=2, padding=1, groups=channels)


class ResidualBlock(nn.Module):
    """Norm, swish, resample, 3x3, time shift, norm, swish, 3x3, plus a shortcut, all over sqrt(2)."""

    def __init__(self, inputs: int, outputs: int, embedding: int, resample: nn.Module | None = None) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs)
        self.resample = resample or nn.Identity()
        self.convolve1 = conv(inputs, outputs, 3)
        self.time_shift = scaled_init(nn.Linear(embedding, outputs))
        self.norm2 = group_norm(outputs)
        self.convolve2 = conv(outputs, outputs, 3, NEAR_ZERO)
        same = inputs == outputs and resample is None
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        inner = self.convolve1(self.resample(F.silu(self.norm1(x))))
        inner = inner + self.time_shift(F.silu(time))[:, :, None, None]
        inner = self.convolve2(F.silu(self.norm2(inner)))
        return (self.shortcut(self.resample(x)) + inner) / math.sqrt(2)


class SelfAttention(nn.Module):
    """One head over all bands and frames at once, beside an identity; the sum is scaled by 1/sqrt(2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        # Queries, keys and values have a scale of 0.1 each; fused, the fan out is three times theirs.
        self.project = conv(channels, 3 * channels, 1, 0.2)
        self.out = conv(channels, channels, 1, NEAR_ZERO)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.project(self.norm(x)).flatten(2).transpose(1, 2)
        query, key, value = (part[:, None] for part in tokens.chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value)[:, 0]
        return (x + self.out(attended.transpose(1, 2).reshape(x.shape))) / math.sqrt(2)


@dataclass(frozen=True)
class LevelPlan:
    """What both sides share at one resolution; ``pyramid`` counts the channels of input and output skip."""

    channels: int
    blocks: int
    embedding: int
    pyramid: int
    attend: bool

    def attention(self) -> nn.Module:
        return SelfAttention(self.channels) if self.attend else nn.Identity()


class DownLevel(nn.Module):
    """One encoder level; where it steps, it then halves bands and frames and takes in the shrunken input."""

    def __init__(self, inputs: int, plan: LevelPlan, step: bool) -> None:
        super().__init__()
        width = plan.channels
        self.blocks = nn.ModuleList(
            ResidualBlock(width if i else inputs, width, plan.embedding) for i in range(plan.blocks)
        )
        self.attentions = nn.ModuleList(plan.attention() for _ in range(plan.blocks))
        self.shrink = Halve()
        self.step = ResidualBlock(width, width, plan.embedding, Halve()) if step else None
        self.join = conv(plan.pyramid, width, 1) if step else None

    def forward(self, x: Tensor, pyramid: Tensor, time: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features that the decoder will want and the input at the next level's size."""
        features: list[Tensor] = []
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x, time))
            features.append(x)
        if self.step is not None and self.join is not None:
            pyramid = self.shrink(pyramid)
            features.append(self.step(x, time) + self.join(pyramid))
        return features, pyramid


class UpLevel(nn.Module):
    """One decoder level: merge the encoder's features, add to the output; where it steps, double the axes."""

    def __init__(self, inputs: int, skips: list[int], plan: LevelPlan, step: bool) -> None:
        super().__init__()
        width = plan.channels
        self.blocks = nn.ModuleList(
            ResidualBlock((width if i else inputs) + skip, width, plan.embedding) for i, skip in enumerate(skips)
        )
        self.attention = plan.attention()
        self.norm = group_norm(width)
        self.emit = conv(width, plan.pyramid, 3, NEAR_ZERO)
        self.enlarge = Double()
        self.step = ResidualBlock(width, width, plan.embedding, Double()) if step else None

    def forward(self, x: Tensor, skips: list[Tensor], output: Tensor | None, time: Tensor) -> tuple[Tensor, Tensor]:
        """Take this level's features off the end of ``skips``; return its own and the output so far."""
        for block in self.blocks:
            x = block(torch.cat((x, skips.pop()), dim=1), time)
        x = self.attention(x)
        emitted = self.emit(F.silu(self.norm(x)))
        output = emitted if output is None else self.enlarge(output) + emitted
        return (x if self.step is None else self.step(x, time)), output


class NCSNpp(nn.Module):
    """Estimate a score, or clean data, from a diffusion state and what it is conditioned on.

    The defaults are the published network; its input channels are the real and imaginary parts of state and
    mixture. ``base_channels`` must be a multiple of four and ``bins`` of the total stride, or ValueError is
    raised.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 2,
        base_channels: int = 128,
        multipliers: tuple[int, ...] = (1, 1, 2, 2, 2, 2, 2),
        blocks: int = 2,
        attention_bands: tuple[int, ...] = (16,),
        bins: int = BASE.bins,
        fourier_scale: float = 16.0,
    ) -> None:
        super().__init__()
        self.stride = 2 ** (len(multipliers) - 1)
        if base_channels % 4 or bins % self.stride:
            raise ValueError(f"NCSNpp needs channels in multiples of 4, bins in multiples of {self.stride}")
        embedding = 4 * base_channels
        plans = [
            LevelPlan(base_channels * times, blocks, embedding, in_channels, bins >> level in attention_bands)
            for level, times in enumerate(multipliers)
        ]
        self.bottleneck_channels = width = plans[-1].channels
        self.time = TimeEmbedding(base_channels, fourier_scale)
        self.widen = conv(in_channels, base_channels, 3)
        self._build_levels(base_channels, plans)
        self.before = ResidualBlock(width, width, embedding)
        self.attention = SelfAttention(width)
        self.after = ResidualBlock(width, width, embedding)
        self.head = conv(in_channels, out_channels, 1)

    def _build_levels(self, width: int, plans: list[LevelPlan]) -> None:
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        steps = [True] * (len(plans) - 1) + [False]
        skips = [width]
        for plan, step in zip(plans, steps, strict=True):
            self.downs.append(DownLevel(width, plan, step))
            width = plan.channels
            skips += [width] * (plan.blocks + step)
        for plan, step in zip(reversed(plans), steps, strict=True):
            merged = [skips.pop() for _ in range(plan.blocks + 1)]
            self.ups.append(UpLevel(width, merged, plan, step))
            width = plan.channels

    def forward(self, x: Tensor, t: Tensor, context: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Map real ``(batch, in_channels, bins, frames)`` at times ``(batch,)`` to ``out_channels``.

        Any number of frames will do: zeros are added up to a multiple of the stride and cropped away.
        ``context``, where given, replaces the bottleneck's features ``(batch, bottleneck_channels, bins /
        stride, ceil(frames / stride))`` by others of that shape, between the self-attention there and the
        block after it.
        """
        frames = x.shape[-1]
        pyramid = F.pad(x, (0, -frames % self.stride))
        time = self.time(t)
        skips = [self.widen(pyramid)]
        for down in self.downs:
            features, pyramid = down(skips[-1], pyramid, time)
            skips += features
        h = self.attention(self.before(skips[-1], time))
        h = self.after(h if context is None else context(h), time)
        output: Tensor | None = None
        for up in self.ups:
            h, output = up(h, skips, output, time)
        return self.head(output)[..., :frames]
