"""What is chosen by ear: nearer to the clean speech, and better to listen to, scores higher."""

from __future__ import annotations

import pytest
import torch

from exdiff_cli.training import hearing
from exdiff_cli.training.hearing import heard_measures
from exdiff_cli.training.mixing import Recipe, mix
from exdiff_cli.training.pool import TrainingAudio

pytestmark = pytest.mark.eval


def test_less_noise_is_heard(training_audio: TrainingAudio) -> None:
    recipe = Recipe(seconds=3.0, snr=(5.0, 5.0), noise_only_share=0.0, telephone_share=0.0, room_share=0.0)
    batch = mix(training_audio.speech, training_audio.noise, recipe, 2, 0, 0)
    noisy, better, clean = (
        heard_measures(batch.speech + share * batch.noise, batch.speech) for share in (1.0, 0.2, 0.0)
    )
    assert noisy["pesq"] < better["pesq"] < clean["pesq"] == pytest.approx(4.64, abs=0.01)
    assert noisy["score"] < better["score"] < clean["score"]
    assert clean["score"] == pytest.approx(clean["pesq"] + clean["ovrl"])


def test_silence_is_a_number() -> None:
    measures = heard_measures(torch.zeros(1, 16_000), torch.zeros(1, 16_000))
    assert measures["pesq"] == 1.0
    assert 1.0 <= measures["ovrl"] <= 5.0


def test_only_the_first_mixtures_are_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "HEARD_MIXTURES", 1)
    loud = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    assert heard_measures(torch.cat((loud, 0 * loud)), torch.cat((loud, loud))) == heard_measures(loud, loud)
