"""Settings: whatever changes a result changes the key, and what cannot be sampled is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from exdiff_cli import settings as module
from exdiff_cli.diffuse.generate import SamplerConfig
from exdiff_cli.errors import UsageError
from exdiff_cli.settings import MEASURED, OnRisk, Precision, Ratings, Resources, Settings
from exdiff_cli.storage import Storage

BASE = Settings(SamplerConfig(steps=0))
OTHER_SAMPLER: dict[str, Any] = {
    "process": "ouve",
    "noise_scale": 0.02,
    "steps": 7,
    "start": 0.75,
    "kind": "sde",
    "strength": 0.5,
}
OTHER_STORAGE: dict[str, Any] = {"format": "flac", "subtype": "PCM_24", "bit_rate": 64_000, "keep_time": False}
OTHER: dict[str, Any] = {
    "segment": 65_536,
    "overlap": 8_192,
    "seed": 1,
    "use_latents": False,
    "query": "noise",
    "skip_silence": False,
    "loudness": -23.0,
    "extend_band": True,
    "on_risk": OnRisk.KEEP_ORIGINAL,
    "draws": 3,
    "strength": 0.5,
    "precision": Precision.BFLOAT16,
    "ratings": Ratings.SAMPLED,
}


def test_every_setting_has_its_case_here() -> None:
    assert set(OTHER_SAMPLER) == {field.name for field in fields(SamplerConfig)}
    assert set(OTHER_STORAGE) == {field.name for field in fields(Storage)}
    assert {"sampler", "storage", *OTHER} == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_changes_the_key(name: str) -> None:
    changed = replace(BASE, **{name: OTHER[name]})
    assert getattr(changed, name) != getattr(BASE, name)
    assert changed.cache_key() != BASE.cache_key()


@pytest.mark.parametrize("name", OTHER_SAMPLER)
def test_every_setting_of_the_sampler_changes_the_key(name: str) -> None:
    changed = replace(BASE, sampler=replace(BASE.sampler, **{name: OTHER_SAMPLER[name]}))
    assert getattr(changed.sampler, name) != getattr(BASE.sampler, name)
    assert changed.cache_key() != BASE.cache_key()


@pytest.mark.parametrize("name", OTHER_STORAGE)
def test_every_way_to_store_changes_the_key(name: str) -> None:
    changed = replace(BASE, storage=replace(BASE.storage, **{name: OTHER_STORAGE[name]}))
    assert changed.cache_key() != BASE.cache_key()


def test_another_version_of_the_results_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = BASE.cache_key()
    monkeypatch.setattr(module, "RESULT_VERSION", module.RESULT_VERSION + 1)
    assert BASE.cache_key() != before


def test_equal_settings_have_one_key() -> None:
    assert Settings(SamplerConfig(steps=0)).cache_key() == BASE.cache_key()


def test_settings_come_back_from_what_a_manifest_keeps() -> None:
    changed = replace(BASE, storage=Storage(**OTHER_STORAGE), precision=Precision.BFLOAT16, ratings=Ratings.SAMPLED)
    assert Settings.from_dict(json.loads(json.dumps(changed.as_dict()))) == changed
    before_there_was_storage = {name: value for name, value in BASE.as_dict().items() if name != "storage"}
    assert Settings.from_dict(before_there_was_storage) == BASE


@pytest.mark.parametrize(
    ("sampler", "option"),
    [
        (SamplerConfig(steps=-1), "--steps -1"),
        (SamplerConfig(start=0.0), "--start 0"),
        (SamplerConfig(start=1.01), "--start 1.01"),
        (SamplerConfig(start=float("nan")), "--start nan"),
    ],
)
def test_what_cannot_be_sampled_is_refused(sampler: SamplerConfig, option: str) -> None:
    with pytest.raises(UsageError, match=option):
        Settings(sampler)


@pytest.mark.parametrize("sampler", [SamplerConfig(steps=0), SamplerConfig(start=1.0)])
def test_the_ends_of_the_ranges_are_valid(sampler: SamplerConfig) -> None:
    assert Settings(sampler).sampler == sampler


def test_diffuse_restores_speech_only() -> None:
    with pytest.raises(UsageError, match="--query noise with --steps 4"):
        Settings(SamplerConfig(steps=4), query="noise")


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_strength_is_a_share(strength: float) -> None:
    with pytest.raises(UsageError, match="give a share from 0 to 1"):
        Settings(SamplerConfig(strength=strength))
    with pytest.raises(UsageError, match="--strength"):
        Settings(SamplerConfig(), strength=strength)


@pytest.mark.parametrize("draws", [0, 17])
def test_draws_are_few(draws: int) -> None:
    with pytest.raises(UsageError, match=f"--draws {draws}: give 1 to 16"):
        Settings(SamplerConfig(), draws=draws)


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (2, 2), (8, 8), (64, 8)])
def test_a_cpu_enhances_as_many_segments_side_by_side_as_there_are_threads(threads: int, workers: int) -> None:
    found = Resources.on("cpu", None, threads)
    assert (found.workers, found.publishers) == (workers, workers)


@pytest.mark.parametrize(
    ("device", "batch", "expected"), [("cpu", None, 1), ("cuda:1", None, MEASURED), ("cpu", 5, 5), ("cpu,cpu", None, 1)]
)
def test_batch_suits_the_device_unless_it_is_given(device: str, batch: int | None, expected: int) -> None:
    assert Resources.on(device, batch, threads=2).batch == expected


def test_a_gpu_decodes_and_publishes_as_many_as_it_has_cores_for() -> None:
    assert Resources.on("cpu", None, threads=1) == Resources()
    for threads, expected in ((1, 1), (6, 3), (64, 8)):
        found = Resources.on("cuda", 16, threads)
        assert (found.decoders, found.publishers, found.workers) == (expected, expected, 1)


def test_several_devices_are_told_apart() -> None:
    assert Resources("cuda:0,cuda:1").devices == ["cuda:0", "cuda:1"]
