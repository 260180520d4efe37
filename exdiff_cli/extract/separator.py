"""Extract: the universal source separator, from a mixture and a query to an estimate and its latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exdiff_cli.audio.spectral import magnitude
from exdiff_cli.extract.query import QUERIES, QueryBank
from exdiff_cli.extract.resunet import ResUNet, ResUNetConfig
from exdiff_cli.extract.resunet30 import ResUNet30, ResUNet30Config

SeparatorConfig = ResUNetConfig | ResUNet30Config

MASK_CEILING = 1.2
"""The mask may amplify a little: interference can be in antiphase with the target."""


@dataclass(frozen=True)
class Extraction:
    """Complex estimate ``(batch, bins, frames)``, and latents ``(batch, channels, bands, frames)``."""

    estimate: Tensor
    latents: tuple[Tensor, ...]

    def cut(self, parts: list[tuple[int, slice]]) -> Extraction:
        """Of rows as many frames each, as in :func:`cut`."""
        return Extraction(cut(self.estimate, parts), tuple(cut(latents, parts) for latents in self.latents))


def cut(whole: Tensor, parts: list[tuple[int, slice]]) -> Tensor:
    """Frames of rows of ``(batch, ..., frames)``, as many of each."""
    return torch.stack([whole[row, ..., part] for row, part in parts])


FEATURES = 3
"""Channels that the network sees of a spectrum."""

MASK = 3
"""Channels that make a mask: a magnitude logit and a rotation."""


FLOOR = 1e-3
"""Compressed magnitude below which nothing is told apart: about 80 dB below the level that spectra are brought to.

Digital silence is as far below the faintest noise as that is below talk, and no mixture of training has it: without a
floor Diffuse took clean talk with silent pauses for noise.
"""


def spectral_features(*spectra: Tensor) -> Tensor:
    """Real part, imaginary part and log magnitude of compressed spectra, ``(batch, 3 * spectra, bins, frames)``."""
    planes: list[Tensor] = []
    for spectrum in spectra:
        log_magnitude = 0.2 * (magnitude(spectrum).clamp_min(FLOOR) + 1e-4).log() + 0.5
        planes += (spectrum.real * 5, spectrum.imag * 5, log_magnitude)
    return torch.stack(planes, dim=1)


def apply_mask(mixture: Tensor, channels: Tensor) -> Tensor:
    """Scale magnitudes by a sigmoid and turn phases by a unit vector (Kong et al. 2023, section III-B).

    ``channels`` are ``(batch, 3, bins, frames)``: magnitude logit, and the rotation ``(1 + a, b)`` before its
    normalisation, so that a network at rest turns nothing.
    """
    logit, cosine, sine = channels.float().unbind(dim=1)
    rotation = torch.complex(1 + cosine, sine)
    # No quotient of a complex number, which takes seven times as long as a product.
    gain = MASK_CEILING * logit.sigmoid() / magnitude(rotation).clamp_min(1e-4)
    return mixture * rotation * gain


Network = Callable[[Tensor, Tensor], tuple[Tensor, tuple[Tensor, ...]]]
"""Features and embeddings to mask channels and latents, as :class:`ResUNet` and its graph."""


def separate(network: Network, mixture: Tensor, wanted: Tensor) -> Extraction:
    """Mask ``(batch, bins, frames)`` as the ``small`` network says for embeddings ``(batch, query_size)``."""
    channels, latents = network(spectral_features(mixture), wanted)
    return Extraction(apply_mask(mixture, channels), latents)


class Separator(nn.Module):
    """The trained unit of a bundle: query bank and network together, ``small`` or ``base`` by its config."""

    def __init__(self, config: SeparatorConfig | None = None, queries: tuple[str, ...] = QUERIES) -> None:
        super().__init__()
        config = config or ResUNetConfig()
        self.queries = QueryBank(config.query_size, queries)
        self.network: ResUNet | ResUNet30
        if isinstance(config, ResUNetConfig):
            self.network = ResUNet(config)
        else:
            self.network = ResUNet30(config.query_size, config.channels)

    def forward(self, mixture: Tensor, query: Tensor) -> Extraction:
        """Extract from a compressed complex spectrum ``(batch, bins, frames)`` what ``query`` ``(batch,)`` indexes."""
        wanted = self.queries(query)
        if isinstance(self.network, ResUNet30):
            return Extraction(*self.network(mixture, wanted))
        return separate(self.network, mixture, wanted)
