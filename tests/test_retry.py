"""`exdiff retry`: what failed is done as it was asked for, or not at all."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import make_bundle, short_settings
from recordings import cut_off, store
from typer.testing import CliRunner

from exdiff_cli.bundle import Bundle, load_bundle
from exdiff_cli.cli import app
from exdiff_cli.discover import Discovery
from exdiff_cli.engine import RunOptions, RunResult, enhance_all, enhance_found, made_with
from exdiff_cli.errors import BundleError, ExitCode, UsageError
from exdiff_cli.jobs import Job, Jobs
from exdiff_cli.manifest import State
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.query import ask
from exdiff_cli.report.sidecar import read_sidecar, sidecar_path
from exdiff_cli.retry import find_failed, restore, together
from exdiff_cli.settings import Resources
from exdiff_cli.status import read_status


@pytest.fixture(autouse=True)
def _quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
        return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(Dnsmos, "score", score)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """One that is whole, and one that is cut off."""
    store(tmp_path / "calls" / "good.wav", 1.0)
    cut_off(store(tmp_path / "calls" / "sub" / "bad.wav", 1.2), 0.5)
    return tmp_path / "calls"


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def summary_of(result: Any) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert summary["message_type"] == "summary"
    return summary


def enhance(calls: Path, bundle: Path, *options: object) -> Path:
    out = calls.with_name("out")
    assert call("enhance", calls, "-o", out, "--bundle", bundle, "--device", "cpu", *options).exit_code == 3
    return out


def test_what_failed_is_done_with_the_options_of_its_run(
    calls: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(bundle_folder.parent)
    out = enhance(calls, Path(bundle_folder.name), "--steps", 1, "--seed", 7, "--no-latents")
    monkeypatch.chdir(tmp_path)
    assert call("retry", out, "--device", "cpu").exit_code == 3
    store(calls / "sub" / "bad.wav", 1.2)
    result = call("retry", out, "--device", "cpu", "--json")
    told = summary_of(result)
    assert (result.exit_code, told["done"], told["failed"], told["skipped"]) == (0, 1, 0, 0)
    retried, first = (read_sidecar(sidecar_path(out / name)) for name in ("sub/bad.wav", "good.wav"))
    assert (retried.seed, retried.settings) == (7, first.settings)
    assert read_status(out).counts["failed"] == 0


def test_a_disk_that_refuses_ends_with_the_code_of_failures(tmp_path: Path) -> None:
    refused = RunResult(tmp_path, problems=["a: full"], left=2, gave_up=True, refused=True)
    whole = together(tmp_path, [RunResult(tmp_path), refused])
    assert (whole.gave_up, whole.refused, whole.left, whole.problems) == (True, True, 2, ["a: full"])
    assert whole.exit_code == refused.exit_code == ExitCode.SOME_FAILED


def test_nothing_failed_is_nothing_to_do(calls: Path, bundle_folder: Path) -> None:
    store(calls / "sub" / "bad.wav", 1.2)
    out = calls.with_name("out")
    assert call("enhance", calls, "-o", out, "--bundle", bundle_folder, "--steps", 0).exit_code == 0
    result = call("retry", out)
    assert (result.exit_code, "0 done" in result.stdout) == (0, True)


def test_other_models_are_refused(calls: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "first")
    out = enhance(calls, bundle, "--steps", 0)
    shutil.rmtree(bundle)
    shutil.copytree(make_bundle(tmp_path / "second", seed=5), bundle)
    (again,) = find_failed(out)
    with pytest.raises(BundleError, match="other models than before"):
        restore(again.made_with)


def test_a_manifest_that_does_not_say_how_is_refused(calls: Path, bundle_folder: Path) -> None:
    out = enhance(calls, bundle_folder, "--steps", 0)
    with sqlite3.connect(out / ".exdiff" / "manifest.sqlite") as database:
        database.execute("DELETE FROM runs")
    database.close()
    with pytest.raises(UsageError, match="--retry-failed"):
        find_failed(out)


def test_settings_of_another_version_are_refused(bundle: Bundle) -> None:
    known = made_with(bundle, short_settings(bundle))
    for changed in (
        replace(known, settings={**known.settings, "reverb": 1}),
        replace(known, settings_key="of another version"),
    ):
        with pytest.raises(UsageError, match="enhance` anew"):
            restore(changed)
    assert restore(known)[1] == short_settings(bundle)


def test_parts_and_settings_are_kept_apart(calls: Path, bundle: Bundle) -> None:
    """Each part, and each run of a part, has its own."""
    out = calls.with_name("out")
    for name, part, steps in (("a", "shard-1-of-2", 1), ("b", "shard-2-of-2", 1), ("c", "shard-2-of-2", 0)):
        jobs = Jobs([Job(cut_off(store(calls / f"{name}.wav", 1.0), 0.5), Path(f"{name}.wav"))])
        settings = short_settings(bundle, steps=steps)
        enhance_found(Discovery(jobs), out, bundle, settings, Resources(), options=RunOptions(part=part))
    for name in "abc":
        store(calls / f"{name}.wav", 1.0)
    result = call("retry", out, "--device", "cpu", "--json")
    assert summary_of(result)["done"] == 3
    reports = {name: json.loads(sidecar_path(out / f"{name}.wav").read_text()) for name in "abc"}
    assert {name: each["settings"]["sampler"]["steps"] for name, each in reports.items()} == {"a": 1, "b": 1, "c": 0}


def test_a_query_by_example_is_asked_again_and_others_are_refused(calls: Path, tmp_path: Path) -> None:
    examples = tmp_path / "horns"
    store(examples / "horn.wav", 2.5)
    plain = load_bundle(str(make_bundle(tmp_path / "b", by_example=True)))
    bundle, query = ask(plain, str(examples))
    out = tmp_path / "out"
    enhance_all([calls], out, bundle, short_settings(bundle, steps=0, query=query), Resources())
    (again,) = find_failed(out)
    restored, settings = restore(again.made_with)
    assert (restored.weights_sha256, settings.query) == (bundle.weights_sha256, query)
    store(examples / "other.wav", 2.5, gain=0.5)
    with pytest.raises(UsageError, match="others than before"):
        restore(again.made_with)


def test_a_result_of_another_recording_is_not_overwritten(calls: Path, bundle: Bundle) -> None:
    """GSM comes back as FLAC, whose name may be taken by what was done before and is not retried."""
    out, settings = calls.with_name("out"), short_settings(bundle, steps=0)
    (calls / "sub" / "bad.wav").unlink()
    store(calls / "x.gsm.flac", 1.0)
    gsm = cut_off(store(calls / "x.gsm", 1.0, 8000, subtype="GSM610", container="WAV"), 0.3)
    enhance_all([calls], out, bundle, settings, Resources())
    before = (out / "x.gsm.flac").read_bytes()
    store(gsm, 1.0, 8000, subtype="GSM610", container="WAV")
    (again,) = find_failed(out)
    result = enhance_found(Discovery(again.jobs), out, bundle, settings, Resources(), options=RunOptions())
    (outcome,) = result.failed
    assert "would be named like that of x.gsm.flac" in str(outcome.error)
    assert (out / "x.gsm.flac").read_bytes() == before


@pytest.fixture
def failing(calls: Path, bundle_folder: Path) -> Path:
    return enhance(calls, bundle_folder, "--steps", 0)


def test_manifest_export(failing: Path, tmp_path: Path) -> None:
    """To stdout as to a file, a line a recording, and the same as the run's own."""
    file = tmp_path / "deep" / "all.jsonl"
    printed = call("manifest", "export", failing).stdout
    assert call("manifest", "export", failing, file).exit_code == 0
    rows = [json.loads(line) for line in printed.splitlines()]
    assert {row["relative"]: row["state"] for row in rows} == {"good.wav": "done", "sub/bad.wav": State.FAILED}
    assert printed == file.read_text() == (failing / ".exdiff" / "manifest.jsonl").read_text()


def test_an_export_that_cannot_be_written_is_a_usage_error(failing: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = call("manifest", "export", failing, tmp_path / "file" / "x.jsonl")
    assert isinstance(result.exception, UsageError)
