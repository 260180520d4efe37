"""Query by example: a separator that is told what to take out by how it sounds, not by its name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exdiff_cli.extract.resunet import ResUNet, ResUNetConfig
from exdiff_cli.extract.separator import FEATURES, Extraction, Separator, separate, spectral_features

BANDS = 8
WIDTHS = (16, 24, 32)
NOISE = "noise"


class ExampleEncoder(nn.Module):
    """Embeds the sound of examples by the mean and the spread over time of what three convolutions find in them.

    Kong et al. 2023, section III-C, take such embeddings from a sound classifier; this one learns with its separator.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.convolve = nn.Sequential(
            nn.Conv2d(FEATURES, first, (4, 3), stride=(4, 2), padding=(0, 1)),
            nn.GroupNorm(4, first),
            nn.SiLU(),
            nn.Conv2d(first, second, (4, 3), stride=(4, 2), padding=(0, 1)),
            nn.GroupNorm(4, second),
            nn.SiLU(),
            nn.Conv2d(second, third, (2, 3), stride=(2, 2), padding=(0, 1)),
        )
        self.describe = nn.Sequential(nn.Linear(2 * third * BANDS, 64), nn.SiLU(), nn.Linear(64, size))

    def forward(self, examples: Tensor) -> Tensor:
        """Embed compressed complex spectra ``(batch, 256, frames)`` as ``(batch, size)``."""
        found = self.convolve(spectral_features(examples)).flatten(1, 2)
        return self.describe(torch.cat((found.mean(-1), found.std(-1, unbiased=False)), dim=-1))


class ExampleSeparator(nn.Module):
    """The encoder and a network of the ``small`` separator's kind, trained together."""

    def __init__(self, config: ResUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResUNetConfig()
        self.encoder = ExampleEncoder(config.query_size)
        self.network = ResUNet(config)

    @torch.no_grad()
    def begin_from(self, separator: Separator) -> None:
        """Take over a separator's network; every example asks for its noise at first."""
        self.network.load_state_dict(separator.network.state_dict())
        last = self.encoder.describe[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.copy_(separator.queries.embeddings[separator.queries.index(NOISE)])

    def forward(self, mixture: Tensor, wanted: Tensor) -> Extraction:
        """Extract from ``(batch, bins, frames)`` what embeddings ``(batch, query_size)`` describe."""
        return separate(self.network, mixture, wanted)

    def asking_for(self, wanted: Tensor, name: str) -> Separator:
        """A plain separator that knows one query, ``name``, for the embedding ``(query_size,)``."""
        separator = Separator(self.config, (name,))
        separator.network = self.network
        separator.queries.embeddings = nn.Parameter(wanted[None], requires_grad=False)
        return separator.eval()
