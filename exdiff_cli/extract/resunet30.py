"""The ``base`` separation network: ResUNet30 of USS (Kong et al. 2023, arXiv 2305.07447).

A U-Net over the magnitude spectrum: six encoder levels of one residual block each, a block at the bottleneck,
six decoder levels, and a mask of a sigmoid magnitude and a unit phase rotation. The condition enters before
every activation. Structure and values follow the authors' release (github.com/bytedance/uss,
uss/models/resunet.py): channel counts, pooling, the batch norms' momentum 0.01, the leaky slope 0.01, and a
FiLM that is a shift alone, without a scale. Three things differ: the spectrum comes in, not the waveform; 256
bins stay whole (the release drops the last of 1025); and a norm and a shift that each decoder of the release
declares and never uses are gone.

Parameters: the release's layer table sums to 26 447 941 at a condition size of 512. Without the unused ones
(824 000) and the input norm's 769 bins that this transform lacks (1 538) that is 25 622 403, this module's
count. Inside, tensors are ``(batch, channels, bands, frames)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exdiff_cli.audio.spectral import BASE

CHANNELS = (32, 64, 128, 256, 384, 384)
STRIDES = ((2, 2), (2, 2), (2, 2), (2, 2), (2, 2), (2, 1))
"""Pooling over (bands, frames) after each encoder level: 64 over the bands and 32 over the frames in all."""
BAND_STRIDE, FRAME_STRIDE = 64, 32
LATENT_LEVEL, LATENT_STRIDE = 2, 8
"""The decoder level given out as a latent, and the frames that one of its steps covers."""


@dataclass(frozen=True)
class ResUNet30Config:
    """Widths of the six levels and size of the query; the defaults are the published ones."""

    channels: tuple[int, ...] = CHANNELS
    query_size: int = 512


class ConditionedActivation(nn.Module):
    """Batch norm, the condition's shift of each channel, leaky ReLU."""

    def __init__(self, channels: int, condition_size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, momentum=0.01)
        self.shift = nn.Linear(condition_size, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(x) + self.shift(condition)[:, :, None, None], 0.01)


class ResidualBlock(nn.Module):
    """Two pre-activated 3x3 convolutions beside an identity, or a 1x1 where the channels change."""

    def __init__(self, inputs: int, outputs: int, condition_size: int) -> None:
        super().__init__()
        self.activate1 = ConditionedActivation(inputs, condition_size)
        self.convolve1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.activate2 = ConditionedActivation(outputs, condition_size)
        self.convolve2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        inner = self.convolve1(self.activate1(x, condition))
        inner = self.convolve2(self.activate2(inner, condition))
        return self.shortcut(x) + inner


class Decoder(nn.Module):
    """Undo one pooling by a transposed convolution, then merge in the encoder's features."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int], condition_size: int) -> None:
        super().__init__()
        self.activate = ConditionedActivation(inputs, condition_size)
        self.expand = nn.ConvTranspose2d(inputs, outputs, stride, stride=stride, bias=False)
        self.block = ResidualBlock(2 * outputs, outputs, condition_size)

    def forward(self, x: Tensor, skip: Tensor, condition: Tensor) -> Tensor:
        x = self.expand(self.activate(x, condition))
        return self.block(torch.cat((x, skip), dim=1), condition)


def apply_mask(mixture: Tensor, channels: Tensor) -> Tensor:
    """Mask complex ``(batch, bins, frames)`` by ``(batch, 3, bins, frames)``: magnitude logit, cosine, sine.

    Magnitudes are scaled by the sigmoid, phases turned by the normalised vector: the decoupled complex mask
    of Kong et al. 2021 (arXiv 2109.05418) without its extra magnitude term, as the USS release has it. The
    small constant keeps the gradient finite where both components vanish.
    """
    logit, cosine, sine = channels.to(mixture.real.dtype).unbind(dim=1)
    rotation = torch.complex(cosine.tanh(), sine.tanh())
    length = (rotation.real.square() + rotation.imag.square() + 1e-12).sqrt()
    return mixture * rotation * (logit.sigmoid() / length)


def initialise(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases for one layer, as the release has them."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ResUNet30(nn.Module):
    """Separate the source that a condition describes.

    ``channels`` gives the width of each of the six levels. ValueError where ``bins`` is no multiple of 64.
    """

    def __init__(self, condition_size: int, channels: tuple[int, ...] = CHANNELS, bins: int = BASE.bins) -> None:
        super().__init__()
        if bins % BAND_STRIDE or len(channels) != len(STRIDES):
            raise ValueError(f"ResUNet30 needs {len(STRIDES)} widths and bins in multiples of {BAND_STRIDE}")
        inputs = (channels[0], *channels[:-1])
        decoder_inputs = (*channels[1:], channels[-1])
        self.latent_channels = (channels[-1], channels[-1 - LATENT_LEVEL])
        self.input_norm = nn.BatchNorm1d(bins, momentum=0.01)
        self.widen = nn.Conv2d(1, channels[0], 1)
        self.encoders = nn.ModuleList(
            ResidualBlock(a, b, condition_size) for a, b in zip(inputs, channels, strict=True)
        )
        self.bottleneck = ResidualBlock(channels[-1], channels[-1], condition_size)
        levels = reversed(list(zip(decoder_inputs, channels, STRIDES, strict=True)))
        self.decoders = nn.ModuleList(Decoder(a, b, stride, condition_size) for a, b, stride in levels)
        self.head = nn.Conv2d(channels[0], 3, 1)
        self.apply(initialise)

    def forward(self, mixture: Tensor, condition: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the estimate and the latents (bottleneck, third decoder level).

        ``mixture``: complex ``(batch, bins, frames)``, any number of frames; ``condition``: ``(batch,
        condition_size)``. The estimate has the mixture's shape. The bottleneck is ``(batch, 384, bins / 64,
        ceil(frames / 32))``, the decoder level ``(batch, 256, bins / 8, ceil(frames / 8))``.
        """
        frames = mixture.shape[-1]
        x = F.pad(self.input_norm(mixture.abs()), (0, -frames % FRAME_STRIDE))
        skips, x = self._encode(self.widen(x[:, None]), condition)
        bottleneck = x = self.bottleneck(x, condition)
        decoded: list[Tensor] = []
        for decoder in self.decoders:
            x = decoder(x, skips.pop(), condition)
            decoded.append(x)
        level = decoded[LATENT_LEVEL][..., : -(-frames // LATENT_STRIDE)]
        return apply_mask(mixture, self.head(x)[..., :frames]), (bottleneck, level)

    def _encode(self, x: Tensor, condition: Tensor) -> tuple[list[Tensor], Tensor]:
        skips: list[Tensor] = []
        for encoder, stride in zip(self.encoders, STRIDES, strict=True):
            skips.append(encoder(x, condition))
            x = F.avg_pool2d(skips[-1], stride)
        return skips, x
