"""Cross-attention from the diffusion's features to the separator's latents, in windows of about a second.

Positions are absolute, in seconds and Hertz, on both sides. They enter as rotations of queries and keys (Su
et al. 2021, RoFormer, eq. 34, one half of a head for time and one for frequency), so that attention depends
on distances and a network trained on short segments holds on long ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW_SECONDS = 1.024
TOKEN_BANDS = 4
TOKENS_PER_SECOND = 15.625


@dataclass(frozen=True)
class Memory:
    """Keys and values of one attention layer, computed once for all steps of the sampler.

    ``keys`` (rotated) and ``values`` are ``(batch, heads, windows + 2, tokens, size)``, with an empty window
    at either end; ``open`` ``(batch, windows + 2, tokens)`` says which tokens hold a latent.
    """

    keys: Tensor
    values: Tensor
    open: Tensor


def rotation(bands: int, frames: int, frames_per_second: float, size: int, device: torch.device) -> Tensor:
    """Cosines and sines ``(frames, bands, size // 2, 2)`` for the centres of a grid over 0 to 8 kHz."""
    seconds = (torch.arange(frames, device=device) + 0.5) / frames_per_second
    hertz = (torch.arange(bands, device=device) + 0.5) * (8000 / bands)
    quarter = size // 4
    order = torch.arange(quarter, device=device) / max(1, quarter - 1)
    by_time = seconds[:, None] * (2 * math.pi / (0.2 * 40.0**order))
    by_pitch = hertz[:, None] * (2 * math.pi / (2000.0 * 16.0**order))
    angles = torch.cat((by_time[:, None].expand(-1, bands, -1), by_pitch[None].expand(frames, -1, -1)), dim=-1)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate pairs of the last axis of ``x`` ``(..., frames, bands, size)`` by ``turns``."""
    # Not in complex numbers, which a graph cannot have.
    real, imaginary = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    cosine, sine = turns.unbind(-1)
    turned = torch.stack((real * cosine - imaginary * sine, real * sine + imaginary * cosine), dim=-1)
    return turned.flatten(-2).to(x.dtype)


def into_windows(x: Tensor, frames: int) -> Tensor:
    """``(batch, heads, time, bands, size)`` to ``(batch, heads, windows, frames * bands, size)``, padded."""
    x = F.pad(x, (0, 0, 0, 0, 0, -x.shape[2] % frames))
    batch, heads, total, bands, size = x.shape
    return x.reshape(batch, heads, total // frames, frames * bands, size)


class LatentTokens(nn.Module):
    """Learned pooling of the separator's latents to ``(batch, size, 4, frames)``, 15.6 frames a second."""

    def __init__(self, channels: tuple[int, ...], bands: tuple[int, ...], stride: int, size: int) -> None:
        super().__init__()
        self.stride = stride
        self.pools = nn.ModuleList(
            nn.Conv2d(count, size, (band // TOKEN_BANDS, stride), stride=(band // TOKEN_BANDS, stride))
            for count, band in zip(channels, bands, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, count) for count in channels)

    def forward(self, latents: tuple[Tensor, ...]) -> Tensor:
        tokens: list[Tensor] = []
        for pool, norm, latent in zip(self.pools, self.norms, latents, strict=True):
            # Group norm's backward of torch 2.11 crashes on channels-last inputs that need no gradient.
            normed = norm(latent.contiguous())
            tokens.append(pool(F.pad(normed, (0, -latent.shape[-1] % self.stride))))
        return torch.stack(tokens).sum(0)


class LatentAttention(nn.Module):
    """One layer: features ``(batch, channels, bands, frames)`` ask, a zero projection adds the answer."""

    def __init__(self, channels: int, token_size: int, frames_per_second: float, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.frames_per_second = heads, frames_per_second
        self.norm = nn.GroupNorm(1, channels)
        self.query = nn.Linear(channels, channels)
        self.memory = nn.Linear(token_size, 2 * channels)
        self.null = nn.Parameter(torch.randn(2, heads, channels // heads) * 0.1)
        self.output = nn.Linear(channels, channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def remember(self, tokens: Tensor, keep: Tensor) -> Memory:
        """Keys and values of ``tokens`` ``(batch, size, 4, frames)``.

        Rows that ``keep`` ``(batch,)`` denies are closed: they offer the null token alone.
        """
        batch, _, bands, frames = tokens.shape
        keys, values = self._split(self.memory(tokens.permute(0, 3, 2, 1)), 2)
        keys = rotate(keys, rotation(bands, frames, TOKENS_PER_SECOND, keys.shape[-1], tokens.device))
        window = round(WINDOW_SECONDS * TOKENS_PER_SECOND)
        padding = (0, 0, 0, 0, 1, 1)
        inside = torch.ones(batch, 1, frames, bands, 1, device=tokens.device) * keep[:, None, None, None, None]
        opened = F.pad(into_windows(inside, window), padding)[:, 0, :, :, 0] > 0
        return Memory(F.pad(into_windows(keys, window), padding), F.pad(into_windows(values, window), padding), opened)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """``(batch, frames, bands, parts * channels)``, in parts ``(batch, heads, frames, bands, size)``."""
        batch, frames, bands, _ = x.shape
        return x.view(batch, frames, bands, parts, self.heads, -1).permute(3, 0, 4, 1, 2, 5).unbind(0)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        batch, channels, bands, frames = x.shape
        (queries,) = self._split(self.query(self.norm(x).permute(0, 3, 2, 1)), 1)
        queries = rotate(queries, rotation(bands, frames, self.frames_per_second, queries.shape[-1], x.device))
        queries = into_windows(queries, round(WINDOW_SECONDS * self.frames_per_second))
        attended = self._attend(queries, memory)
        attended = attended.reshape(batch, self.heads, -1, bands, channels // self.heads)[:, :, :frames]
        attended = attended.permute(0, 2, 3, 1, 4).reshape(batch, frames, bands, channels)
        return x + self.output(attended).permute(0, 3, 2, 1)

    def _attend(self, queries: Tensor, memory: Memory) -> Tensor:
        """Each window of queries to its own window of latents, both neighbours, and the null token."""
        batch, heads, windows, _, size = queries.shape
        null_key, null_value = (
            part[None, :, None, None].expand(batch, heads, windows, 1, size) for part in self.null.unbind(0)
        )
        keys = torch.cat((*_neighbours(memory.keys, windows, 2), null_key.to(queries.dtype)), dim=3)
        values = torch.cat((*_neighbours(memory.values, windows, 2), null_value.to(queries.dtype)), dim=3)
        opened = F.pad(torch.cat(_neighbours(memory.open, windows, 1), dim=2), (0, 1), value=True)
        return self.weigh(queries, keys, values, opened)

    def weigh(self, queries: Tensor, keys: Tensor, values: Tensor, opened: Tensor) -> Tensor:
        """Attend in each window ``(batch, heads, windows, …, size)`` to keys opened by ``(batch, windows, keys)``."""
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=opened[:, None, :, None])


def _neighbours(x: Tensor, windows: int, axis: int) -> list[Tensor]:
    return [x.narrow(axis, offset, windows) for offset in range(3)]
