"""The shipped models: they load, fit what their card says, and make real noisy speech measurably better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from recordings import DATA

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.bundle import load_bundle
from exdiff_cli.enhancer import Enhancer
from exdiff_cli.evaluate import enhance_samples
from exdiff_cli.extract.resunet import count_parameters
from exdiff_cli.measures.reference import estoi, pesq_wb, si_sdr
from exdiff_cli.settings import DEFAULT_BUNDLE, Settings


def test_the_card_states_the_networks_that_ship() -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for network in (bundle.separator, bundle.score_net):
        assert f"{count_parameters(network):,}" in card


def test_no_weight_file_is_larger_than_twelve_mebibytes() -> None:
    sizes = [path.stat().st_size for path in load_bundle(DEFAULT_BUNDLE).folder.glob("*.safetensors")]
    assert len(sizes) == 3
    assert max(sizes) <= 12 * 2**20


@pytest.mark.parametrize("steps", [0, None])
def test_a_noisy_sentence_comes_nearer_to_the_clean_one(steps: int | None) -> None:
    """At 1 dB SNR and PESQ 1.08: both Extract alone and the default win at least 6 dB of SI-SDR."""
    bundle = load_bundle(DEFAULT_BUNDLE)
    sampler = bundle.sampler if steps is None else replace(bundle.sampler, steps=steps)
    enhancer = Enhancer(bundle, Settings(sampler=sampler), torch.device("cpu"))
    noisy, clean = read_mono(DATA / "noisy.wav"), read_mono(DATA / "clean.wav")
    enhanced = enhance_samples(noisy, file_sha256(DATA / "noisy.wav"), enhancer)
    before, after = si_sdr(noisy, clean), si_sdr(enhanced, clean)
    assert before is not None
    assert after is not None
    assert after > before + 6


@pytest.mark.parametrize("before_and_after", [(0, 0), (16_000, 32_000)])
def test_clean_talk_stays_as_it_is(before_and_after: tuple[int, int]) -> None:
    """Digital silence around it was once taken for a sign of noise, and the talk went: SI-SDR -1 dB."""
    bundle = load_bundle(DEFAULT_BUNDLE)
    enhancer = Enhancer(bundle, Settings(sampler=bundle.sampler), torch.device("cpu"))
    clean = np.pad(read_mono(DATA / "german.opus"), before_and_after)
    enhanced = enhance_samples(clean, file_sha256(DATA / "german.opus"), enhancer)
    kept = si_sdr(enhanced, clean)
    assert kept is not None
    assert kept > 30


@pytest.mark.parametrize("offset", [0.02, 0.3])
def test_a_constant_offset_goes_and_does_no_harm(offset: float) -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    enhancer = Enhancer(bundle, Settings(sampler=bundle.sampler), torch.device("cpu"))
    noisy, clean = read_mono(DATA / "noisy.wav"), read_mono(DATA / "clean.wav")
    content = file_sha256(DATA / "noisy.wav")
    plain, shifted = (enhance_samples(samples, content, enhancer) for samples in (noisy, noisy + np.float32(offset)))
    assert abs(float(shifted.mean())) < 5e-3 * offset
    of_plain, of_shifted = si_sdr(plain, clean), si_sdr(shifted, clean)
    assert of_plain is not None
    assert of_shifted is not None
    assert of_shifted > of_plain - 1.0


@pytest.mark.eval
def test_a_noisy_sentence_gains_in_quality_and_intelligibility() -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    enhancer = Enhancer(bundle, Settings(sampler=bundle.sampler), torch.device("cpu"))
    noisy, clean = read_mono(DATA / "noisy.wav"), read_mono(DATA / "clean.wav")
    enhanced = enhance_samples(noisy, file_sha256(DATA / "noisy.wav"), enhancer)
    for measure in (pesq_wb, estoi):
        before, after = measure(noisy, clean), measure(enhanced, clean)
        assert before is not None
        assert after is not None
        assert after > before
