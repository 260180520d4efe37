"""The ``base`` diffusion network: NCSN++ as published, with the separator's latents at its bottleneck.

The latents are the decoder level of ResUNet30, 15.6 frames a second as they are; its bottleneck is coarser than the
tokens and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from exdiff_cli.diffuse.attention import LatentAttention, LatentTokens
from exdiff_cli.diffuse.ncsnpp import NCSNpp
from exdiff_cli.diffuse.score_net import Condition, DataPredictor
from exdiff_cli.extract.separator import Extraction


@dataclass(frozen=True)
class BaseScoreNetConfig:
    """Width of NCSN++ and shape of the latents; the defaults are the published width and ResUNet30's latents."""

    base_channels: int = 128
    token_size: int = 256
    latent_channels: int = 256
    latent_bands: int = 32
    frames_per_second: float = 125.0
    concatenate_estimate: bool = False
    attend_latents: bool = True


class BaseScoreNet(DataPredictor):
    """NCSN++ with one layer of cross-attention; without the latents it is the published network."""

    def __init__(self, config: BaseScoreNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BaseScoreNetConfig()
        self.concatenate_estimate, self.attend_latents = config.concatenate_estimate, config.attend_latents
        self.network = NCSNpp(6 if config.concatenate_estimate else 4, base_channels=config.base_channels)
        self.stride = self.network.stride
        self.tokens = LatentTokens((config.latent_channels,), (config.latent_bands,), 1, config.token_size)
        rate = config.frames_per_second / self.stride
        width = self.network.bottleneck_channels
        self.attentions = nn.ModuleList((LatentAttention(width, config.token_size, rate),))

    def condition(self, mixture: Tensor, extraction: Extraction, keep_latents: Tensor | None = None) -> Condition:
        """As in :class:`DataPredictor`, from the decoder level alone."""
        decoded = Extraction(extraction.estimate, extraction.latents[1:])
        return super().condition(mixture, decoded, keep_latents)

    def correct(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.network(x, t, lambda features: self.attentions[0](features, condition.memories[0]))
