"""The doctor: finds what is broken, says so, and what it calls sound was tried without a network."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torchaudio
from bundles import make_bundle
from typer.testing import CliRunner

from exdiff_cli import bundle as bundles
from exdiff_cli import doctor
from exdiff_cli.cli import app
from exdiff_cli.doctor import (
    Verdict,
    check_bundles,
    check_codecs,
    check_device,
    check_disk,
    check_offline,
    check_torch,
)
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore

NAMES = ["device", "torch", "codecs", "disk", "bundles", "offline"]


@pytest.fixture(autouse=True)
def tiny_models(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """In place of those that ship; DNSMOS aside."""
    shutil.copytree(bundle_folder, tmp_path / "models" / "tiny")
    monkeypatch.setattr(bundles, "model_folders", lambda: [tmp_path / "models"])

    def score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
        return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(Dnsmos, "score", score)
    return tmp_path / "models" / "tiny"


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments])


def test_all_is_well(tmp_path: Path) -> None:
    result = call("doctor", str(tmp_path / "new" / "out"), "--bundle", "tiny", "--device", "cpu", "--json")
    checks = [json.loads(line) for line in result.stdout.splitlines()]
    assert [check["name"] for check in checks] == NAMES
    assert {check["verdict"] for check in checks} == {"ok"}
    assert result.exit_code == 0
    assert not (tmp_path / "new").exists()


def test_several_devices_are_all_looked_at() -> None:
    found = check_device("device", "cpu,cpu")
    assert found.verdict is Verdict.OK
    assert found.found.count("cpu (") == 2


def test_damaged_weights_are_two_problems_and_code_two(tiny_models: Path) -> None:
    weights = tiny_models / "diffuse.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    result = call("doctor", "--bundle", "tiny", "--device", "cpu", "--json")
    checks = {check["name"]: check for check in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == 2
    assert [name for name in NAMES if checks[name]["verdict"] == "problem"] == ["bundles", "offline"]
    assert "diffuse.safetensors" in checks["bundles"]["found"]
    table = call("doctor", "--bundle", "tiny", "--device", "cpu")
    assert (table.exit_code, "problem" in table.stdout, "install exdiff" in table.stdout) == (2, True, True)


def test_whoever_needs_the_network_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a failed connection is passed over in silence."""

    def call_home(name: str) -> Any:
        with socket.socket() as caller, pytest.raises(OSError, match="no network"):
            caller.connect(("127.0.0.1", 9))
        return bundles.load_bundle(name)

    monkeypatch.setattr(doctor, "load_bundle", call_home)
    check = check_offline("offline", "tiny", "cpu")
    assert (check.verdict, check.found) == (
        Verdict.PROBLEM,
        "something tried to reach the network (socket.connect)",
    )


def test_the_network_is_back_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with doctor.without_network() as attempts, pytest.raises(OSError, match="no network"):
            socket.create_connection(server.getsockname())
        assert attempts
        socket.create_connection(server.getsockname()).close()


def test_libraries_that_do_not_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchaudio, "__version__", "1.0.0+cpu")
    assert check_torch("torch").verdict is Verdict.PROBLEM


def test_missing_codecs_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "", "OGG": ""})
    monkeypatch.setattr(soundfile, "available_subtypes", lambda container: {"VORBIS": ""})
    check = check_codecs("codecs")
    assert check.verdict is Verdict.WARNING
    assert check.found.endswith("without FLAC, MP3, Opus")


def test_a_full_or_closed_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "LITTLE_DISK_BYTES", 1 << 62)
    assert check_disk("disk", tmp_path).verdict is Verdict.WARNING
    monkeypatch.setattr(doctor, "TemporaryFile", refuse)
    check = check_disk("disk", tmp_path)
    assert check.verdict is Verdict.PROBLEM
    assert "cannot be written (Permission denied)" in check.found


def test_no_bundle_at_all(tiny_models: Path) -> None:
    shutil.rmtree(tiny_models)
    assert check_bundles("bundles").verdict is Verdict.PROBLEM


def test_what_nobody_foresaw_is_a_problem_of_its_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "check_codecs", lambda name: 1 / 0)
    found = {check.name: check for check in doctor.examine(tmp_path, "tiny", "cpu")}
    assert list(found) == NAMES
    assert (found["codecs"].verdict, found["codecs"].found) == (Verdict.PROBLEM, "division by zero")


def test_models_are_listed_and_checked(tiny_models: Path, tmp_path: Path) -> None:
    asked = make_bundle(tmp_path / "asked", by_example=True)
    asked.rename(tiny_models.parent / "by-example")
    broken = shutil.copytree(tiny_models, tiny_models.parent / "broken")
    (broken / "extract.safetensors").unlink()
    result = call("models", "--json")
    models = {model["name"]: model for model in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == 2
    assert [(name, model["by_example"], bool(model["problem"])) for name, model in models.items()] == [
        ("broken", None, True),
        ("by-example", True, False),
        ("tiny", False, False),
    ]
    loaded = bundles.load_bundle("tiny")
    assert models["tiny"]["weights_sha256"] == loaded.weights_sha256
    shutil.rmtree(broken)
    shown = call("models")
    assert (shown.exit_code, loaded.weights_sha256[:12] in shown.stdout) == (0, True)
