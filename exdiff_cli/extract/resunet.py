"""The ``small`` separation network: a FiLM-conditioned residual U-Net with a recurrent bottleneck.

It strides over frequency only, so that time keeps its resolution down to the bottleneck, where two dual-path
blocks carry context along both axes. Tensors are ``(batch, channels, bands, frames)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ResUNetConfig:
    """Shape of the network; the defaults are the ``small`` preset."""

    channels: tuple[int, ...] = (16, 24, 32, 48, 48)
    hidden: int = 40
    dual_path_blocks: int = 2
    query_size: int = 32


class FiLM(nn.Module):
    """Scale and shift each channel by the query (feature-wise linear modulation)."""

    def __init__(self, query_size: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(query_size, 2 * channels)
        nn.init.normal_(self.project.weight, std=0.02)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        scale, shift = self.project(query)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


def gate(x: Tensor) -> Tensor:
    """Gated linear unit over channels."""
    return F.glu(x, dim=1)  # Of half channels last, one operation after the other would be slow.


class Down(nn.Module):
    """Halve the bands: gated convolution, norm and FiLM on one way, pooling and a 1x1 on the other."""

    def __init__(self, inputs: int, outputs: int, query_size: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(inputs, 2 * outputs, (4, 3), stride=(2, 1), padding=(1, 1))
        self.norm = nn.GroupNorm(4, outputs)
        self.film = FiLM(query_size, outputs)
        self.shortcut = nn.Sequential(nn.AvgPool2d((2, 1)), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        return self.film(self.norm(gate(self.convolve(x))), query) + self.shortcut(x)


class Up(nn.Module):
    """Double the bands: the mirror of :class:`Down`, with the encoder's features added on the way in."""

    def __init__(self, inputs: int, outputs: int, query_size: int) -> None:
        super().__init__()
        self.convolve = nn.ConvTranspose2d(inputs, 2 * outputs, (4, 3), stride=(2, 1), padding=(1, 1))
        self.norm = nn.GroupNorm(4, outputs)
        self.film = FiLM(query_size, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, skip: Tensor, query: Tensor) -> Tensor:
        x = x + skip
        shortcut = self.shortcut(x).repeat_interleave(2, dim=2)
        return self.film(self.norm(gate(self.convolve(x))), query) + shortcut


class Recurrence(nn.Module):
    """A bidirectional GRU along one axis with a residual: ``(sequences, steps, channels)`` to the same."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.gru = nn.GRU(channels, hidden, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.gru(self.norm(x))[0])


class DualPath(nn.Module):
    """Recurrence over the bands of each frame, then over the frames of each band."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.over_bands = Recurrence(channels, hidden)
        self.over_frames = Recurrence(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, bands, frames = x.shape
        by_frame = x.permute(0, 3, 2, 1).reshape(batch * frames, bands, channels)
        by_frame = self.over_bands(by_frame).view(batch, frames, bands, channels)
        by_band = by_frame.transpose(1, 2).reshape(batch * bands, frames, channels)
        return self.over_frames(by_band).view(batch, bands, frames, channels).permute(0, 3, 1, 2)


class ResUNet(nn.Module):
    """Features ``(batch, 3, bins, frames)`` and a query ``(batch, query_size)`` to a mask and latents."""

    def __init__(self, config: ResUNetConfig | None = None, inputs: int = 3, outputs: int = 3) -> None:
        super().__init__()
        self.config = config = config or ResUNetConfig()
        widths = (inputs, *config.channels)
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList(Down(a, b, config.query_size) for a, b in pairs)
        self.bottleneck = nn.Sequential(
            *(DualPath(config.channels[-1], config.hidden) for _ in range(config.dual_path_blocks))
        )
        self.ups = nn.ModuleList(Up(b, a, config.query_size) for a, b in reversed(pairs[1:]))
        self.head = nn.ConvTranspose2d(config.channels[0], outputs, (4, 3), stride=(2, 1), padding=(1, 1))

    def forward(self, features: Tensor, query: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return mask channels ``(batch, 3, bins, frames)`` and latents (bottleneck, first and last decoder level)."""
        skips: list[Tensor] = []
        x = features
        for down in self.downs:
            x = down(x, query)
            skips.append(x)
        bottleneck = x = self.bottleneck(x)
        decoded: list[Tensor] = []
        for up in self.ups:
            x = up(x, skips.pop(), query)
            decoded.append(x)
        finest = x + skips.pop()
        return self.head(finest), (bottleneck, decoded[0], finest)


def deepen(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], bottleneck: str) -> dict[str, Tensor]:
    """Weights of a network with fewer dual-path blocks, completed from a deeper one's ``own``.

    The further blocks, whose names begin with ``bottleneck``, are at rest: they pass on what they are given, so that
    the deeper network begins as the other one ended.
    """
    further = {name: value for name, value in own.items() if name.startswith(bottleneck) and name not in weights}
    at_rest = {name: torch.zeros_like(value) if ".project." in name else value for name, value in further.items()}
    return {**weights, **at_rest}


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in module.parameters())
