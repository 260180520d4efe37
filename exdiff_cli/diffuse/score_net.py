"""The ``small`` diffusion network: it predicts clean speech from a noisy state and what Extract found.

Its way of being score-based: with the data prediction in the place of the clean target, ``sde.OUVE.score`` is
the score, and the bridge's samplers take the prediction as it is. The network is of Extract's own kind and begins
from its weights, with the process time in the place of the query. The separator's latents enter in two ways:
pooled ones by cross-attention at the bottleneck, and its finest ones, which lie on the same grid as the first
level, by addition there. Spectra are compressed complex ``(batch, bins, frames)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exdiff_cli.diffuse.attention import LatentAttention, LatentTokens, Memory
from exdiff_cli.extract.resunet import ResUNet, ResUNetConfig, deepen
from exdiff_cli.extract.separator import FEATURES, MASK, Extraction, Separator, apply_mask, spectral_features

SCALE = 8.0
"""Brings compressed spectra of mixtures at the training level to about unit size."""


@dataclass(frozen=True)
class ScoreNetConfig:
    """Shape of the network; the defaults are the ``small`` preset, for the ``small`` separator's latents."""

    channels: tuple[int, ...] = (16, 24, 32, 48, 48)
    hidden: int = 40
    dual_path_blocks: int = 2
    time_size: int = 32
    token_size: int = 48
    latent_channels: tuple[int, ...] = (48, 48)
    latent_bands: tuple[int, ...] = (8, 16)
    fine_channels: int = 16
    frames_per_second: float = 62.5
    concatenate_estimate: bool = True
    attend_latents: bool = True

    @property
    def trunk(self) -> ResUNetConfig:
        return ResUNetConfig(self.channels, self.hidden, self.dual_path_blocks, self.time_size)


@dataclass(frozen=True)
class Condition:
    """What the network looks at beside the state, made once a batch: spectra, attention memories, fine latents.

    ``fine`` are features for the first level, ``(batch, channels, bins / 2, frames)``, of a network that takes them.
    """

    mixture: Tensor
    estimate: Tensor
    memories: tuple[Memory, ...]
    fine: Tensor | None = None


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
    """Predicts the clean spectrum as a correction of the separator's estimate, or of the mixture if it is not shown.

    A subclass sets ``tokens``, ``attentions``, ``stride`` (what frames are padded to a multiple of),
    ``concatenate_estimate`` and ``attend_latents``, which leave out one or both of what Extract found, and
    computes the correction.
    """

    tokens: LatentTokens
    attentions: nn.ModuleList
    stride: int
    concatenate_estimate: bool
    attend_latents: bool

    def condition(self, mixture: Tensor, extraction: Extraction, keep_latents: Tensor | None = None) -> Condition:
        """Compute what stays the same over the steps.

        ``keep_latents`` ``(batch,)`` bool leaves the latents out for some rows: these attend to the null
        token alone.
        """
        keep = self._kept(mixture, keep_latents)
        tokens = self.tokens(extraction.latents)
        memories = tuple(cast(LatentAttention, layer).remember(tokens, keep) for layer in self.attentions)
        return Condition(mixture, extraction.estimate, memories)

    def _kept(self, mixture: Tensor, keep_latents: Tensor | None) -> Tensor:
        """One for each row whose latents are shown, zero for the others, ``(batch,)`` float."""
        if keep_latents is None or not self.attend_latents:
            return torch.full((len(mixture),), float(self.attend_latents), device=mixture.device)
        return keep_latents.float()

    def forward(self, state: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the clean spectrum from ``state`` ``(batch, bins, frames)`` at times ``t`` ``(batch,)``."""
        sources = self.sources(state, condition)
        x = self.features(sources)
        frames = x.shape[-1]
        if frames % self.stride:
            x = F.pad(x, (0, -frames % self.stride))
        channels = self.correct(x, t, condition)[..., :frames].float()
        base, channels = self.first_answer(channels, condition)
        planes = torch.complex(channels[:, ::2].contiguous(), channels[:, 1::2].contiguous())
        masked = sum(mask * source for mask, source in zip(planes[:, 1:].unbind(1), sources, strict=False))
        return base + planes[:, 0] * (1 / SCALE) + masked

    def sources(self, state: Tensor, condition: Condition) -> list[Tensor]:
        """The spectra that the network sees, each ``(batch, bins, frames)``."""
        estimate = [condition.estimate] if self.concatenate_estimate else []
        return [state, condition.mixture, *estimate]

    def first_answer(self, channels: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """The spectrum that is corrected, and of ``channels`` those that correct it."""
        return condition.estimate if self.concatenate_estimate else condition.mixture, channels

    def features(self, sources: list[Tensor]) -> Tensor:
        """What the network sees of complex spectra ``(batch, bins, frames)``: real and imaginary parts."""
        return torch.view_as_real(torch.stack(sources, dim=1) * SCALE).movedim(-1, 2).flatten(1, 2)

    def correct(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Map features to pairs of real and imaginary parts, ``(batch, channels, bins, frames)``.

        Of what :meth:`first_answer` leaves, the first pair is added as it is; further ones are masks, as the
        separator's are, and bring in the state, the mixture and the estimate, in this order.
        """
        raise NotImplementedError


class ScoreNet(DataPredictor):
    """The ``small`` network: Extract's residual U-Net, told the time, with attention and fine latents."""

    stride = 1

    def __init__(self, config: ScoreNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ScoreNetConfig()
        self.concatenate_estimate, self.attend_latents = config.concatenate_estimate, config.attend_latents
        sources = 3 if config.concatenate_estimate else 2
        self.time = TimeEmbedding(config.time_size)
        self.trunk = ResUNet(config.trunk, FEATURES * sources, MASK + 2 + 2 * sources)
        self.tokens = LatentTokens(config.latent_channels, config.latent_bands, 4, config.token_size)
        attention = LatentAttention(config.channels[-1], config.token_size, config.frames_per_second)
        self.attentions = nn.ModuleList((attention,))
        fine = nn.Conv2d(config.fine_channels, config.channels[0], 1)
        self.fine = nn.Sequential(nn.GroupNorm(1, config.fine_channels), fine)
        for parameter in (*self.trunk.head.parameters(), *fine.parameters()):
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def begin_from(self, separator: Separator) -> bool:
        """Take over the weights of a separator of the same widths, as its speech query has them; say if it is.

        Its input features go to the mixture's; state and estimate are not listened to at first. Where the separator
        has fewer dual-path blocks, further ones are at rest; where it has more, they are left out.
        """
        network, trunk = separator.network, self.config.trunk
        if not isinstance(network, ResUNet):
            return False
        if (network.config.channels, network.config.hidden) != (trunk.channels, trunk.hidden):
            return False
        own = self.trunk.state_dict()
        given = deepen(network.state_dict(), own, "bottleneck.")
        speech = separator.queries.embeddings[separator.queries.index("speech")]
        for name, weight in given.items():
            if name not in own:
                continue
            if name == "head.weight":  # Those of the mask; corrections are at rest.
                own[name][:, :MASK] = weight
            elif name == "head.bias":
                own[name][:MASK] = weight
            elif name.endswith("film.project.weight"):
                own[name].zero_()
            elif name.endswith("film.project.bias"):
                own[name].copy_(weight + given[name.replace("bias", "weight")] @ speech)
            elif own[name].shape != weight.shape:
                own[name].zero_()[:, FEATURES : 2 * FEATURES] = weight
            else:
                own[name].copy_(weight)
        return True

    def condition(self, mixture: Tensor, extraction: Extraction, keep_latents: Tensor | None = None) -> Condition:
        """As in :class:`DataPredictor`; rows without latents have no fine ones either."""
        *pooled, finest = extraction.latents
        given = super().condition(mixture, Extraction(extraction.estimate, tuple(pooled)), keep_latents)
        # Contiguous, as in LatentTokens.
        fine = self.fine(finest.contiguous()) * self._kept(mixture, keep_latents)[:, None, None, None]
        return replace(given, fine=fine)

    def features(self, sources: list[Tensor]) -> Tensor:
        """The separator's own features of every source: real and imaginary part and log magnitude."""
        return spectral_features(*sources)

    def first_answer(self, channels: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """A mask of the mixture of the network's own, which is the separator's to begin with."""
        return apply_mask(condition.mixture, channels[:, :MASK]), channels[:, MASK:]

    def correct(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        time = self.time(t)
        skips: list[Tensor] = []
        for level, down in enumerate(self.trunk.downs):
            x = down(x, time)
            if level == 0 and condition.fine is not None:
                x = x + condition.fine
            skips.append(x)
        x = self.attentions[0](self.trunk.bottleneck(x), condition.memories[0])
        for up in self.trunk.ups:
            x = up(x, skips.pop(), time)
        return self.trunk.head(x + skips.pop())
