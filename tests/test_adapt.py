"""Adaptation: only a bundle that is better on the site and no worse elsewhere is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import make_bundle, save_score_net, save_separator
from safetensors.torch import load_file
from torch import Tensor

from exdiff_cli.bundle import PARTS, load_bundle, load_example_separator, write_bundle
from exdiff_cli.training import adapt as module
from exdiff_cli.training import validation
from exdiff_cli.training.adapt import Judgement, Weights, adapt, blend, choose, fine_tune, load_speech
from exdiff_cli.training.diffuse import DiffuseTask
from exdiff_cli.training.extract import ExtractTask
from exdiff_cli.training.objective import Objective
from exdiff_cli.training.pool import TrainingAudio, load_training_audio
from exdiff_cli.training.site import Site
from exdiff_cli.training.trainer import TrainOptions

FIRST = Weights({"a": torch.tensor([0.0])}, {"b": torch.tensor([10.0])})
TUNED = Weights({"a": torch.tensor([1.0])}, {"b": torch.tensor([20.0])})


def judge_by(site: dict[float, float], fixed: dict[float, float]) -> module.Judge:
    def judge(weights: Weights) -> Judgement:
        share = weights.extract["a"].item()
        return Judgement(site[share], fixed[share])

    return judge  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("site", "fixed", "share"),
    [
        ((1.0, 0.75, 0.5, 0.25), (1, 1, 1, 1), 1.0),
        ((1.0, 0.75, 0.5, 0.25), (-1, -0.1, 0.1, 0), 0.5),
        ((0.5, 0.9, 0.8, 0.25), (1, 1, 1, 1), 0.75),
        ((1.0, 0.75, 0.5, 0.25), (-1, -1, -1, -1), 0.0),
        ((-1.0, -0.75, 0.0, -0.25), (1, 1, 1, 1), 0.0),
    ],
)
def test_the_best_on_the_site_among_those_that_are_no_worse_elsewhere(
    site: tuple[float, ...], fixed: tuple[float, ...], share: float
) -> None:
    judge = judge_by(dict(zip(module.SHARES, site, strict=True)), dict(zip(module.SHARES, fixed, strict=True)))
    before = Judgement(0.0, 0.0)
    found, after = choose(judge, FIRST, TUNED, before)
    assert found == share
    assert after == (judge(blend(FIRST, TUNED, share)) if share else before)


def test_blends_lie_on_the_way() -> None:
    blends = [blend(FIRST, TUNED, share) for share in (0.0, 0.25, 1.0)]
    assert [mixed.extract["a"].item() for mixed in blends] == [0.0, 0.25, 1.0]
    assert [mixed.diffuse["b"].item() for mixed in blends] == [10.0, 12.5, 20.0]


@pytest.fixture
def site(training_audio: TrainingAudio) -> Site:
    return Site(training_audio.noise, training_audio.valid_noise, 10.0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SITE_MIXTURES", 2)
    monkeypatch.setattr(module, "FIXED_MIXTURES", 2)
    monkeypatch.setattr(validation, "CLEAR", replace(validation.CLEAR, seconds=0.5))


@pytest.mark.parametrize("better", [True, False])
def test_a_bundle_is_written_only_where_it_is_better(
    site: Site,
    training_audio: TrainingAudio,
    small: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    better: bool,
) -> None:
    if better:
        monkeypatch.setattr(module, "choose", lambda *_: (0.5, Judgement(1.0, 1.0)))
    else:
        monkeypatch.setattr(module, "choose", lambda judge, first, tuned, before: (0.0, before))
    bundle_folder = make_bundle(tmp_path / "bundle", by_example=True)
    bundle = load_bundle(str(bundle_folder))
    first = {model: load_file(bundle_folder / f"{model}.safetensors") for model in PARTS}
    options = TrainOptions(
        tmp_path / "run", max_time=0.5, batch=2, warmup_steps=1, validation_mixtures=2, recipe=module.TRAINING
    )
    result = adapt(bundle, site, training_audio, options, tmp_path / "adapted")
    assert (tmp_path / "adapted").exists() == better
    assert (result.share > 0) == better
    if better:
        written = load_bundle(str(tmp_path / "adapted"))
        assert written.sampler == bundle.sampler
        for model, network in zip(PARTS, (written.separator, written.score_net), strict=True):
            tuned = load_file(tmp_path / "run" / model / "last.safetensors")
            assert any(not torch.equal(weight, first[model][name]) for name, weight in tuned.items())
            for name, weight in network.state_dict().items():
                torch.testing.assert_close(weight, (first[model][name] + tuned[name]) / 2)
        assert load_example_separator(written)[1] == load_example_separator(bundle)[1]
    assert_unchanged(bundle_folder, first)


def test_adaptation_goes_on_with_what_the_models_learnt(
    site: Site, training_audio: TrainingAudio, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each model is tuned by its own loss, but Diffuse minds what a listener does, and so does the judge."""
    extract = save_separator(tmp_path / "e.safetensors", objective={"exponent": 0.4, "by_ear": True, "of_old": 1})
    diffuse = save_score_net(tmp_path / "d.safetensors", objective={"disturbance": 0.2})
    write_bundle(tmp_path / "tiny", extract, diffuse, with_graphs=False)
    bundle = load_bundle(str(tmp_path / "tiny"))
    tasks: list[ExtractTask | DiffuseTask] = []

    def noted(kind: Any) -> Any:
        def build(*given: Any, **named: Any) -> Any:
            tasks.append(kind(*given, **named))
            return tasks[-1]

        return build

    for kind in (ExtractTask, DiffuseTask):
        monkeypatch.setattr(module, kind.__name__, noted(kind))
    options = TrainOptions(tmp_path / "run", max_time=0.1, batch=2, validation_mixtures=1, recipe=module.TRAINING)
    adapt(bundle, site, training_audio, options, tmp_path / "adapted")
    learnt = {type(task): task.objective for task in tasks}
    assert learnt == {ExtractTask: Objective(exponent=0.4), DiffuseTask: Objective(disturbance=module.DISTURBANCE)}


def assert_unchanged(folder: Path, first: dict[str, dict[str, Tensor]]) -> None:
    for model, weights in first.items():
        again = load_file(folder / f"{model}.safetensors")
        assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


def test_diffuse_is_tuned_on_what_extract_has_become(
    site: Site, training_audio: TrainingAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(str(make_bundle(tmp_path / "bundle")))
    seen: list[DiffuseTask] = []

    def noted(*given: Any, **named: Any) -> DiffuseTask:
        seen.append(DiffuseTask(*given, **named))
        return seen[-1]

    monkeypatch.setattr(module, "DiffuseTask", noted)
    options = TrainOptions(tmp_path / "run", max_time=0.4, batch=2, warmup_steps=1, recipe=module.TRAINING)
    tuned = fine_tune(bundle, training_audio, options)
    (task,) = seen
    for name, weight in task.separator.state_dict().items():
        assert torch.equal(weight, tuned.extract[name])
    own = bundle.separator.state_dict()
    assert any(not torch.equal(weight, own[name]) for name, weight in tuned.extract.items())


def test_shipped_speech_is_there_and_the_noise_is_the_site_own(site: Site) -> None:
    audio = load_speech(None, site)
    assert audio.noise is site.noise
    assert len(audio.valid_noise.names) == 4
    assert len(audio.speech.samples) > 300 * 16_000
    assert not torch.equal(audio.speech.samples[:16_000], audio.valid_speech.samples[:16_000])


def test_a_data_directory_takes_its_place(training_audio: TrainingAudio, data_dir: Path) -> None:
    """Its noise stays part of what is learnt, lest it be unlearnt."""
    own = training_audio.valid_noise
    audio = load_speech(data_dir, Site(own, own, 10.0))
    others = load_training_audio(data_dir, for_diffuse=False).noise.names
    assert set(audio.noise.names) == {*own.names, *others}
    assert 0.6 < sum(name in own.names for name in audio.noise.names) / len(audio.noise.names) < 0.8
    assert len(audio.speech.samples) < 300 * 16_000
