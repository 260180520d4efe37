"""The presets: both models of each fit each other, and the large ones are the published networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundles import save_trained

from exdiff_cli.audio.spectral import SpectralConfig
from exdiff_cli.bundle import load_bundle, write_bundle
from exdiff_cli.diffuse.base_net import BaseScoreNet, BaseScoreNetConfig
from exdiff_cli.diffuse.generate import SamplerConfig, generate, seeded_noise
from exdiff_cli.diffuse.ncsnpp import NCSNpp
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.resunet import count_parameters
from exdiff_cli.extract.resunet30 import ResUNet30Config
from exdiff_cli.extract.separator import Extraction, Separator
from exdiff_cli.presets import PRESETS, build_score_net, find_preset, preset_name
from exdiff_cli.training.diffuse import DiffuseTask
from exdiff_cli.training.extract import ExtractTask
from exdiff_cli.training.mixing import Mixture

NARROW_SEPARATOR = ResUNet30Config((8, 8, 8, 16, 16, 16), query_size=8)
NARROW_NET = BaseScoreNetConfig(base_channels=8, token_size=8, latent_channels=16)


def spectrum(frames: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return 0.1 * torch.randn((batch, 256, frames), generator=generator, dtype=torch.complex64)


def extract(mixture: torch.Tensor) -> Extraction:
    torch.manual_seed(0)
    separator = Separator(NARROW_SEPARATOR).eval()
    with torch.no_grad():
        return separator(mixture, torch.zeros(len(mixture), dtype=torch.long))


def lively_base_net() -> BaseScoreNet:
    torch.manual_seed(1)
    net = BaseScoreNet(NARROW_NET).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # at rest it predicts next to nothing, whatever it sees
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def test_every_preset_is_found_and_named_by_its_configs() -> None:
    for name, preset in PRESETS.items():
        assert find_preset(name) is preset
        assert preset_name(preset.separator) == preset_name(preset.score_net) == name
    with pytest.raises(UsageError, match="small and base"):
        find_preset("huge")


def test_the_base_net_is_ncsnpp_and_little_more() -> None:
    with torch.device("meta"):
        net, published = build_score_net(PRESETS["base"].score_net), NCSNpp()
    extra = count_parameters(net) - count_parameters(published)
    assert 0 < extra < 0.04 * count_parameters(published)


@pytest.mark.parametrize("frames", [1, 63, 130])
def test_base_models_work_together_at_any_length(frames: int) -> None:
    mixture = spectrum(frames)
    net = lively_base_net()
    with torch.no_grad():
        result = generate(
            net, mixture, extract(mixture), SamplerConfig(steps=2), seeded_noise([1, 2], (256, frames), mixture.device)
        )
    assert result.shape == mixture.shape
    assert torch.view_as_real(result).isfinite().all()


def test_the_base_net_sees_the_latents_until_they_are_dropped() -> None:
    mixture = spectrum(128)
    extraction, net, t = extract(mixture), lively_base_net(), torch.full((2,), 0.5)
    other = Extraction(extraction.estimate, tuple(latent + latent.flip(-1) for latent in extraction.latents))

    def predict(given: Extraction, keep: float) -> torch.Tensor:
        with torch.no_grad():
            return net(mixture, t, net.condition(mixture, given, torch.full((2,), keep)))

    assert (predict(extraction, 1.0) - predict(other, 1.0)).abs().max() > 1e-5
    assert torch.equal(predict(extraction, 0.0), predict(other, 0.0))


def test_base_models_train_and_make_a_bundle(tmp_path: Path) -> None:
    spectral: SpectralConfig = PRESETS["base"].spectral
    generator = torch.Generator().manual_seed(0)
    speech = 0.03 * torch.randn(2, 16_000, generator=generator)
    batch = Mixture(speech + 0.03 * torch.randn(2, 16_000, generator=generator), speech)
    first = ExtractTask(NARROW_SEPARATOR, spectral)
    second = DiffuseTask(first.model, config=NARROW_NET, spectral=spectral)
    for task in (first, second):
        task.model.requires_grad_(True).train()
        task.loss(batch, 0, 0.0).backward()  # type: ignore[no-untyped-call]
        assert all(
            p.grad is not None and p.grad.isfinite().all() for n, p in task.model.named_parameters() if "network" in n
        )
        save_trained(task.model, tmp_path / f"{task.description['model']}.safetensors", **task.description)
    write_bundle(tmp_path / "bundle", tmp_path / "extract.safetensors", tmp_path / "diffuse.safetensors")
    bundle = load_bundle(str(tmp_path / "bundle"))
    assert bundle.spectral == spectral
    assert count_parameters(bundle.score_net) == count_parameters(second.model)
