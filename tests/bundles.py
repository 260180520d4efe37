"""A bundle of untrained networks at a hundredth of their size, for tests that run the whole way."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exdiff_cli.bundle import Bundle, load_bundle, write_bundle
from exdiff_cli.diffuse.generate import SamplerConfig
from exdiff_cli.diffuse.score_net import ScoreNet, ScoreNetConfig
from exdiff_cli.errors import BundleError
from exdiff_cli.extract.by_example import ExampleSeparator
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.extract.separator import Separator
from exdiff_cli.settings import OnRisk, Settings

EXTRACT = ResUNetConfig(channels=(4, 4, 4, 4, 8), hidden=4, dual_path_blocks=1, query_size=4)
DIFFUSE = ScoreNetConfig(
    channels=(4, 4, 8, 16, 16),
    token_size=8,
    latent_channels=(8, 4),
    fine_channels=4,
    hidden=4,
    dual_path_blocks=1,
    time_size=16,
)
SAMPLER = SamplerConfig(noise_scale=0.05, steps=2, start=0.5, kind="ode")
SEGMENT, OVERLAP = 16_384, 2_048


def save_trained(network: nn.Module, path: Path, **about: Any) -> Path:
    """Save weights as training does."""
    save_file(network.state_dict(), path, metadata={"exdiff": json.dumps(about)})
    return path


def save_separator(path: Path, seed: int = 0, config: ResUNetConfig = EXTRACT, **about: Any) -> Path:
    torch.manual_seed(seed)
    return save_trained(Separator(config), path, model="extract", config=asdict(config), **about)


def save_score_net(
    path: Path, seed: int = 0, config: ScoreNetConfig = DIFFUSE, loud: bool = False, **about: Any
) -> Path:
    """Nothing is at rest: an untrained network would not see the latents, nor the state.

    A ``loud`` one makes up so much that nobody would trust it.
    """
    torch.manual_seed(seed)
    network = ScoreNet(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Attention has little to say among so few channels, unless it says it loudly; masks near one would let
            # the state grow from step to step.
            size = 1.0 if "output" in name else (2.0 if loud else 0.02) if "head" in name else 0.05
            parameter.add_(torch.randn_like(parameter) * size)
    return save_trained(network, path, model="diffuse", config=asdict(config), sampler=asdict(SAMPLER), **about)


def save_example_separator(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    return save_trained(ExampleSeparator(EXTRACT), path, model="by_example", config=asdict(EXTRACT))


def make_bundle(
    folder: Path, seed: int = 0, by_example: bool = False, loud: bool = False, with_graphs: bool = False
) -> Path:
    """Write a whole bundle below ``folder``; returns its own folder. To make graphs takes longer than all else."""
    folder.mkdir(parents=True, exist_ok=True)
    extract = save_separator(folder / "extract-trained.safetensors", seed)
    diffuse = save_score_net(folder / "diffuse-trained.safetensors", seed, loud=loud)
    asked = save_example_separator(folder / "by-example-trained.safetensors", seed) if by_example else None
    write_bundle(folder / "tiny", extract, diffuse, by_example=asked, with_graphs=with_graphs)
    return folder / "tiny"


def short_settings(bundle: Bundle, **changes: Any) -> Settings:
    """Segments of a second, so that short recordings have several; ``steps``, ``kind`` and so on go to the sampler.

    Risks are only flagged: nothing that untrained networks sample would be trusted.
    """
    of_sampler = {name: changes.pop(name) for name in asdict(bundle.sampler) if name in changes}
    settings = Settings(sampler=replace(bundle.sampler, **of_sampler), segment=SEGMENT, overlap=OVERLAP)
    return replace(settings, **{"on_risk": OnRisk.FLAG, **changes})


def refusal(name: Path | str) -> str:
    """In one line, why a bundle is not loaded."""
    with pytest.raises(BundleError) as caught:
        load_bundle(str(name))
    message = str(caught.value)
    assert "\n" not in message
    return message
