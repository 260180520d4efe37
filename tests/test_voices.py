"""Speaker similarity: the same voice is near, another far, and nothing where it cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.measures import voices
from exdiff_cli.measures.voices import SpeakerEncoder, speaker_similarity, weights_file

installed = pytest.mark.skipif(weights_file() is None, reason="needs the extra `voices`")


@installed
def test_a_voice_is_like_itself_at_any_level_and_less_like_noise() -> None:
    clean, noisy = read_mono(DATA / "clean.wav"), read_mono(DATA / "noisy.wav")
    itself, quiet, mixed = (speaker_similarity(other, clean) for other in (clean, 0.001 * clean, noisy))
    assert itself == pytest.approx(1.0, abs=1e-5)
    assert quiet == pytest.approx(1.0, abs=0.02)
    assert mixed is not None
    assert 0.5 < mixed < 0.99


@installed
def test_silence_is_no_voice() -> None:
    clean = read_mono(DATA / "clean.wav")
    assert speaker_similarity(np.zeros_like(clean), clean) is None


def test_embeddings_are_of_unit_length_for_any_duration() -> None:
    torch.manual_seed(0)
    encoder = SpeakerEncoder().eval()
    for samples in (800, 16_000, 40_000):
        embedding = encoder.embed(np.random.default_rng(0).normal(size=samples).astype(np.float32))
        assert embedding.shape == (256,)
        assert embedding.norm().item() == pytest.approx(1.0, abs=1e-5)
        assert (embedding >= 0).all()


def test_without_the_weights_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "_encoder", lambda: None)
    assert speaker_similarity(np.ones(16_000), np.ones(16_000)) is None
