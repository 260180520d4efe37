"""The two sizes of both models: ``small``, which ships trained, and ``base``, as the papers publish it."""

from __future__ import annotations

from dataclasses import dataclass

from exdiff_cli.audio.spectral import BASE, SMALL, SpectralConfig
from exdiff_cli.diffuse.base_net import BaseScoreNet, BaseScoreNetConfig
from exdiff_cli.diffuse.score_net import DataPredictor, ScoreNet, ScoreNetConfig
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.extract.resunet30 import ResUNet30Config
from exdiff_cli.extract.separator import SeparatorConfig

NetConfig = ScoreNetConfig | BaseScoreNetConfig


@dataclass(frozen=True)
class Preset:
    """The transform and the networks that belong together."""

    spectral: SpectralConfig
    separator: SeparatorConfig
    score_net: NetConfig


PRESETS = {
    "small": Preset(SMALL, ResUNetConfig(), ScoreNetConfig()),
    "base": Preset(BASE, ResUNet30Config(), BaseScoreNetConfig()),
}


def find_preset(name: str) -> Preset:
    """A preset by name; :class:`UsageError` names those that there are."""
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}: there is {' and '.join(PRESETS)}")
    return PRESETS[name]


def preset_name(config: SeparatorConfig | NetConfig) -> str:
    """The preset that a network's config is a variant of."""
    return "small" if isinstance(config, ResUNetConfig | ScoreNetConfig) else "base"


def build_score_net(config: NetConfig) -> DataPredictor:
    """The untrained diffusion network of a config."""
    return ScoreNet(config) if isinstance(config, ScoreNetConfig) else BaseScoreNet(config)
