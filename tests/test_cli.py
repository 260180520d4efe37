"""The command line: its exit codes, one line an error, results on stdout and nothing else there."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from bundles import save_separator, save_trained
from full_disk import file_size_limit
from recordings import DATA, cut_off, samples_of, store
from torch import nn
from typer.testing import CliRunner

from exdiff_cli import __version__, cli, engine
from exdiff_cli.audio.io import probe
from exdiff_cli.bundle import find_bundle, load_bundle
from exdiff_cli.commands.evaluate import parse_steps
from exdiff_cli.commands.options import choose_device, choose_devices, parse_batch
from exdiff_cli.errors import UsageError
from exdiff_cli.lock import locked
from exdiff_cli.manifest import Manifest
from exdiff_cli.measures import against_clean
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.publish import TEMPORARY_GLOB
from exdiff_cli.report.sidecar import QualityReport, read_sidecar, sidecar_path
from exdiff_cli.settings import DEFAULT_BUNDLE
from exdiff_cli.training import adapt as adaptation
from exdiff_cli.training import run as running
from exdiff_cli.training import trainer as trainer_module
from exdiff_cli.training import validation
from exdiff_cli.training.adapt import Adaptation, Judgement
from exdiff_cli.training.trainer import Task, Trainer

NOBODY = 65534


@dataclass(frozen=True)
class Called:
    """How a call of the command ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.splitlines()
        return line

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What ``--json`` printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def recordings(self) -> list[dict[str, Any]]:
        """The lines before the closing summary."""
        *recordings, summary = self.lines
        assert {line["message_type"] for line in recordings} <= {"recording"}
        assert summary["message_type"] == "summary"
        return recordings


Exdiff = Callable[..., Called]


@pytest.fixture
def exdiff(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Exdiff:
    """Call the command in this process, DNSMOS aside, and never see a traceback."""

    def score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
        return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(Dnsmos, "score", score)
    monkeypatch.setattr(against_clean, "dnsmos_reference", lambda audio: DnsmosScore(3.0, 3.0, 3.0))

    def call(*arguments: object) -> Called:
        monkeypatch.setattr(sys, "argv", ["exdiff", *map(str, arguments)])
        capfd.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        assert isinstance(code, int)
        called = Called(code, *capfd.readouterr())
        assert "Traceback" not in called.out + called.err
        return called

    return call


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    for number in range(2):
        store(tmp_path / "calls" / f"{number}.wav", 3.0 + number)
    return tmp_path / "calls"


@pytest.fixture
def options(bundle_folder: Path) -> tuple[object, ...]:
    return ("--bundle", bundle_folder, "--device", "cpu")


# --- enhance: all is well -----------------------------------------------------------------------------------


def test_enhance_beside_the_input(exdiff: Exdiff, calls: Path, options: tuple[object, ...]) -> None:
    called = exdiff("enhance", calls, *options)
    assert (called.code, called.err) == (0, "")
    assert "0.wav" in called.out
    assert "2 done" in called.out
    for name in ("0.wav", "1.wav"):
        assert probe(calls.with_name("calls-enhanced") / name).frames == probe(calls / name).frames
    again = exdiff("enhance", calls, *options)
    assert (again.code, again.err) == (0, "")
    assert "2 were done before" in again.out


def test_enhance_as_json(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    (calls / "bad.wav").touch()
    called = exdiff("enhance", calls, "-o", tmp_path / "out", *options, "--json", "--steps", 1, "--seed", 7)
    assert called.code == 3
    run = called.lines[-1]
    assert (run["done"], run["failed"], run["skipped"], run["exit_code"]) == (2, 1, 0, 3)
    states = {recording["recording"]: recording["state"] for recording in called.recordings}
    assert states == {"0.wav": "done", "1.wav": "done", "bad.wav": "failed"}
    reports = [recording["report"] for recording in called.recordings if recording["report"]]
    assert [(report["seed"], report["settings"]["sampler"]["steps"]) for report in reports] == [(7, 1)] * 2
    assert called.complaint == f"failed: {calls / 'bad.wav'}: is empty (zero bytes); record or copy it again"


def test_quiet_prints_failures_only(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    assert exdiff("enhance", calls, "-o", tmp_path / "out", *options, "-q") == Called(0, "", "")
    (calls / "bad.wav").touch()
    called = exdiff("enhance", calls, "-o", tmp_path / "out", *options, "--quiet")
    assert (called.code, called.out) == (3, "")
    assert called.complaint.startswith("failed: ")


def test_options_reach_the_settings(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    results = {}
    for name, given in {"a": (), "b": ("--no-latents",), "c": ("--steps", 0), "d": ("--batch", 1)}.items():
        assert exdiff("enhance", calls / "1.wav", "-o", tmp_path / name, *options, *given).code == 0
        results[name] = samples_of(tmp_path / name / "1.wav")
    assert abs(results["a"] - results["b"]).max() > 1e-4
    assert abs(results["a"] - results["c"]).max() > 1e-3
    assert abs(results["a"] - results["d"]).max() < 1e-4


def test_threads_reach_torch(exdiff: Exdiff, calls: Path, options: tuple[object, ...]) -> None:
    before = torch.get_num_threads()
    try:
        assert exdiff("enhance", calls / "0.wav", *options, "--threads", 3).code == 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_results_may_be_stored_otherwise(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    os.utime(calls / "0.wav", ns=(10**18, 10**18))
    given = ("-o", tmp_path / "out", *options, "--format", "flac", "--subtype", "PCM_24", "--no-keep-time")
    called = exdiff("enhance", calls, *given)
    assert (called.code, called.err) == (0, "")
    assert "2 stored in another format" in called.out
    result = probe(tmp_path / "out" / "0.wav.flac")
    assert (result.container, result.subtype) == ("FLAC", "PCM_24")
    assert result.modified_ns != 10**18
    report = read_sidecar(sidecar_path(result.path))
    assert report.changes[0] == "stored as FLAC PCM_24: as asked for"
    assert "2 were done before" in exdiff("enhance", calls, *given).out


def test_what_does_not_go_with_a_format_fails_alone(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    store(calls / "odd.wav", 1.0, rate=44_100)
    called = exdiff("enhance", calls, "-o", tmp_path / "out", *options, "--format", "opus")
    assert called.code == 3
    assert "odd.wav: cannot be stored as OGG OPUS" in called.complaint
    assert probe(tmp_path / "out" / "1.wav.opus").frames == probe(calls / "1.wav").frames


# --- enhance: what is wrong with the call -------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("enhance", "--no-such-option", "x"),
        ("enhance", "x", "--batch", "0"),
        ("enhance", "x", "--steps", "some"),
        ("no-such-command",),
    ],
)
def test_what_cannot_be_parsed_is_a_usage_error(exdiff: Exdiff, arguments: tuple[str, ...]) -> None:
    called = exdiff(*arguments)
    assert (called.code, called.out) == (2, "")
    assert "Usage: " in called.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("enhance", "CALLS", "--bundle", "absent"), "no model bundle 'absent'"),
        (("enhance", "CALLS", "--bundle", "CALLS"), "no model bundle"),
        (("enhance", "CALLS", "BUNDLE", "--steps", "-1"), "--steps -1"),
        (("train", "extract", "--data", "x", "--out", "y", "--preset", "base", "--blocks", "3"), "--blocks 3"),
        (("enhance", "CALLS", "BUNDLE", "--deadline", "25:00"), "--deadline 25:00"),
        (("enhance", "CALLS", "BUNDLE", "--max-duration", "soon"), "--max-duration soon"),
        (("enhance", "CALLS", "BUNDLE", "--grace", "-1s"), "--grace -1s"),
        (("enhance", "CALLS", "BUNDLE", "--shard", "0/4"), "--shard 0/4"),
        (("enhance", "CALLS", "BUNDLE", "--lock-wait", "long"), "--lock-wait long"),
        (("enhance", "BUNDLE"), "name recordings or folders"),
        (("enhance", "CALLS", "BUNDLE", "--files-from", "-"), "takes the place of paths"),
        (("enhance", "BUNDLE", "--files-from", "x"), "needs an output folder"),
        (("enhance", "BUNDLE", "--files-from", "CALLS/gone", "-o", "out"), "cannot be read"),
        (("enhance", "CALLS", "BUNDLE", "--newer-than", "soon"), "--newer-than soon"),
        (("enhance", "CALLS", "BUNDLE", "--preset", "slow"), "there is fast, balanced, best"),
        (("enhance", "CALLS", "BUNDLE", "--preset", "fast", "--steps", "4"), "give one of the two"),
        (("enhance", "CALLS", "BUNDLE", "--device", "tpu"), "--device tpu"),
        (("enhance", "CALLS", "BUNDLE", "--format", "mp4"), "--format mp4: there is wav"),
        (("enhance", "CALLS", "BUNDLE", "--loudness", "3"), "--loudness 3: give -50 to -5 LUFS"),
        (("enhance", "CALLS", "BUNDLE", "--bitrate", "64 kbit"), "--bitrate 64 kbit"),
        (("enhance", "CALLS/gone.wav", "BUNDLE"), "gone.wav: does not exist"),
        (("enhance", "CALLS/0.wav", "CALLS/1.wav", "BUNDLE"), "name it with -o"),
        (("enhance", "CALLS", "-o", "CALLS", "BUNDLE"), "both input and output"),
        (("enhance", "CALLS", "-o", "CALLS/0.wav", "BUNDLE"), "must be a folder"),
        (("evaluate", "CALLS", "CALLS/gone", "BUNDLE"), "no such folder"),
        (("evaluate", "CALLS", "CALLS", "BUNDLE", "--steps", "0"), "--steps 0"),
        (("evaluate", "CALLS", "CALLS", "BUNDLE", "--steps", "1,x"), "--steps 1,x"),
        (("evaluate", "CALLS", "CALLS", "BUNDLE", "--steps", "1,"), "--steps 1,"),
        (("evaluate", "CALLS", "CALLS", "BUNDLE", "--measures", "mos"), "--measures mos"),
        (("evaluate", "CALLS", "CALLS", "--against", "exdiff-speech-16k"), "named alike"),
        (("enhance", "CALLS", "BUNDLE", "--query", "birds"), "knows speech and noise"),
        (("enhance", "CALLS", "BUNDLE", "--query", "noise", "--steps", "2"), "restores speech only"),
        (("bench", "--bundle", "absent"), "no model bundle"),
        (("picture", "CALLS/0.wav", "CALLS/1.wav", "-o", "CALLS/a.xyz"), "a.xyz: cannot be written"),
        (("bundle", "--extract", "CALLS/0.wav", "--diffuse", "CALLS/0.wav", "--out", "CALLS/b"), "trained weights"),
        (("train", "extract", "--data", "CALLS", "--out", "CALLS/run"), "noise: no such folder"),
        (("train", "extract", "--data", "CALLS", "--out", "CALLS/run", "--max-time", "soon"), "--max-time soon"),
        (("train", "extract", "--data", "CALLS", "--out", "CALLS/run", "--device", "cuda:x"), "--device cuda:x"),
        (("train", "extract", "--data", "CALLS", "--out", "CALLS/run", "--choose-by", "eye"), "--choose-by eye"),
        (("train", "diffuse", "--data", "CALLS", "--out", "CALLS/run", "--extract", "CALLS/0.wav"), "trained weights"),
        (("train", "validation", "--data", "x", "--out", "y", "--sites", "--by-example"), "one set at a time"),
        (("train", "diffuse", "--data", "CALLS", "--out", "CALLS/run"), "noise: no such folder"),
    ],
)
def test_a_wrong_call_is_one_line_and_two(
    exdiff: Exdiff, calls: Path, bundle_folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    filled: list[str] = []
    for argument in arguments:
        filled += ["--bundle", str(bundle_folder)] if argument == "BUNDLE" else [argument.replace("CALLS", str(calls))]
    called = exdiff(*filled)
    assert (called.code, called.out) == (2, "")
    assert called.complaint.startswith("exdiff: ")
    assert words in called.complaint
    assert sorted(path.name for path in calls.iterdir()) == ["0.wav", "1.wav"]


def test_a_missing_gpu_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="--device cuda"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == "cuda"
    assert choose_device("cuda:1") == "cuda:1"
    with pytest.raises(UsageError, match="--device cudax"):
        choose_device("cudax")


def test_several_devices_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_devices("cuda:0,cuda:1") == choose_devices("cuda:0, cuda:1") == "cuda:0,cuda:1"
    with pytest.raises(UsageError, match="names the CPU twice"):
        choose_devices("cpu,cpu")
    with pytest.raises(UsageError, match="only enhance, retry and doctor"):
        choose_device("cuda:0,cuda:1")


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ("cuda:0,cuda:2", "cuda:2 is not available here; use cpu or cuda:0 to cuda:1"),
        ("cuda,cuda:0", "names a GPU twice"),
        ("cuda:01,cuda:1", "names a GPU twice"),
        ("cuda:0,cpu", "leave cpu out"),
        ("cuda:0,", "an empty name is not available"),
        ("cuda:", "cuda: is not available"),
        ("mps", "mps is not available"),
    ],
)
def test_devices_that_cannot_work_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, devices: str, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=words) as caught:
        choose_devices(devices)
    assert str(caught.value).startswith(f"--device {devices}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "expected"), [("auto", None), ("1", 1), ("64", 64)])
def test_a_batch_is_a_number_or_auto(text: str, expected: int | None) -> None:
    assert parse_batch(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_no_other_batch_is_taken(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="auto"):
        parse_batch(text)


def test_training_data_that_cannot_be_decoded_is_one_line(exdiff: Exdiff, data_dir: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(data_dir, tmp_path / "data"))
    (data / "noise" / "bad.wav").write_text("no audio")
    called = exdiff("train", "extract", "--data", data, "--out", tmp_path / "run")
    assert called.code == 2
    assert "bad.wav: cannot be decoded" in called.complaint


def test_a_run_folder_that_cannot_be_is_one_line(exdiff: Exdiff, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_text("no state")
    for out, words in (
        ("notes.txt", "notes.txt: cannot be a run folder (File exists); name another --out"),
        ("notes.txt/run", "notes.txt/run: cannot be a run folder (Not a directory); name another --out"),
        ("run", "state.pt: is damaged, or no state of a training; delete it"),
    ):
        called = exdiff("train", "extract", "--data", data_dir, "--out", tmp_path / out, "--device", "cpu", "--resume")
        assert called.code == 2
        assert words in called.complaint


def test_a_mean_that_cannot_be_written_is_one_line(exdiff: Exdiff, bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no folder")
    weights = bundle_folder / "extract.safetensors"
    called = exdiff("train", "average", weights, weights, "--out", tmp_path / "notes.txt" / "mean.safetensors")
    assert called.code == 2
    assert "mean.safetensors: cannot be written (" in called.complaint
    assert exdiff("train", "average", weights, weights, "--out", tmp_path / "new" / "mean.safetensors").code == 0


def test_diffuse_is_trained_on_the_shipped_extract_unless_told(
    exdiff: Exdiff, data_dir: Path, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def take(path: Path) -> None:
        taken.append(path)
        raise UsageError("far enough")

    monkeypatch.setattr(running, "trained_separator", take)
    own = bundle_folder / "extract.safetensors"
    for given in ((), ("--extract", own)):
        assert exdiff("train", "diffuse", "--data", data_dir, "--out", tmp_path / "run", *given).code == 2
    assert taken == [find_bundle(DEFAULT_BUNDLE) / "extract.safetensors", own]


@pytest.mark.parametrize("model", ["extract", "diffuse"])
def test_each_part_of_the_loss_is_weighed_by_its_option(
    exdiff: Exdiff, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    seen: list[Task] = []
    monkeypatch.setattr(running, "begin", lambda build, *_, **__: seen.append(build()))
    weights = {"exponent": 0.3, "by_pitch": 0.4, "missing": 1.5, "loudness": 3.0, "disturbance": 0.2}
    given = [text for name, value in weights.items() for text in (f"--loss-{name.replace('_', '-')}", value)]
    called = exdiff("train", model, "--data", data_dir, "--out", tmp_path / "run", "--loss-relative", *given)
    assert called.code == 0, called.err
    assert seen[0].description["objective"] == {**weights, "relative": True, "by_ear": False}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_says_how_to_go_on(
    exdiff: Exdiff, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    ticks, run = count(), tmp_path / "a run"

    def step(trainer: Trainer) -> float:
        trainer.step += 1
        if trainer.step == 2:
            os.kill(os.getpid(), number)
        return 0.5

    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(Trainer, "train_step", step)
    monkeypatch.setattr(Trainer, "validate", lambda trainer: {"score": 0.0})
    arguments = ("train", "extract", "--data", data_dir, "--out", run, "--max-time", "5s", "--device", "cpu")
    called = exdiff(*arguments)
    assert (called.code, called.out) == (128 + number, "")
    *_, how, end = called.err.splitlines()
    assert end == f"exdiff: {number.name}: stopped"
    command = shlex.join(["exdiff", *map(str, arguments), "--resume"])
    assert how == f"{run}: is saved; go on with: {command}"

    again = exdiff(*shlex.split(command)[1:])
    assert (again.code, again.err) == (0, "")
    assert torch.load(run / "state.pt")["step"] == 5


@pytest.mark.parametrize(("preset", "steps"), [("fast", 1), ("balanced", 2), ("best", 4)])
def test_a_preset_is_a_number_of_steps(
    exdiff: Exdiff, calls: Path, bundle_folder: Path, tmp_path: Path, preset: str, steps: int
) -> None:
    out = tmp_path / "out"
    assert exdiff("enhance", calls, "-o", out, "--bundle", bundle_folder, "--preset", preset).code == 0
    (report, *_) = out.rglob("*.quality.json")
    assert json.loads(report.read_text())["settings"]["sampler"]["steps"] == steps


def test_weights_of_another_network_are_one_line(exdiff: Exdiff, data_dir: Path, tmp_path: Path) -> None:
    other = save_trained(nn.Linear(2, 2), tmp_path / "x.safetensors", model="extract", config={"hidden": 4})
    for given in (other, save_trained(nn.Linear(2, 2), tmp_path / "y.safetensors", model="extract")):
        called = exdiff("train", "diffuse", "--data", data_dir, "--out", tmp_path / "run", "--extract", given)
        assert called.code == 2
        assert f"{given}: does not fit" in called.complaint


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_adapt_writes_or_says_why_not(
    exdiff: Exdiff, calls: Path, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    result = Adaptation(share, Judgement(-0.5, -0.1), Judgement(-0.25 if share else -0.5, -0.1))
    monkeypatch.setattr(adaptation, "adapt_to", lambda *given: result)
    called = exdiff("adapt", calls, "-o", tmp_path / "mine", "--bundle", bundle_folder)
    if share:
        assert (called.code, called.err) == (0, "")
        assert called.out == (
            f"{tmp_path / 'mine'}: 50% of what was learnt; "
            "score on the site's noise -0.5000 to -0.2500, elsewhere -0.1000 to -0.1000\n"
        )
    else:
        assert (called.code, called.out) == (6, "")
        assert "nothing was written" in called.complaint


def test_adapt_refuses_what_it_cannot_use(exdiff: Exdiff, bundle_folder: Path, tmp_path: Path) -> None:
    there = exdiff("adapt", tmp_path, "-o", bundle_folder)
    assert there.code == 2
    assert "exists; name a new folder" in there.complaint
    assert exdiff("adapt", tmp_path, "-o", tmp_path / "mine").code == 4
    store(tmp_path / "short.wav", 1.0)
    little = exdiff("adapt", tmp_path / "short.wav", "-o", tmp_path / "mine", "--bundle", bundle_folder)
    assert little.code == 2
    assert "adapt needs 5 s" in little.complaint


def test_adapt_names_what_it_cannot_read_even_if_quiet(exdiff: Exdiff, bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"")
    called = exdiff("-q", "adapt", tmp_path / "bad.wav", "-o", tmp_path / "mine", "--bundle", bundle_folder)
    assert called.code == 2
    assert f"failed: {tmp_path / 'bad.wav'}: is empty" in called.err


def test_a_file_and_a_flag_that_say_the_same_give_the_same_result(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exdiff("enhance", calls, *options, "--seed", 7, "-q").code == 0
    file = calls.parent / "exdiff.toml"
    file.write_text("seed = 7\noutput = 'calls-enhanced'\n")
    again = exdiff("enhance", calls, *options)
    assert (again.code, again.complaint) == (0, f"exdiff: settings from {file}")
    assert "2 were done before" in again.out
    assert exdiff("enhance", calls, *options, "-q") == Called(0, "", "")
    monkeypatch.setenv("EXDIFF_SEED", "8")
    other = exdiff("enhance", calls, *options)
    assert other.code == 0
    assert "2 done" in other.out
    file.write_text("sead = 7\n")
    refused = exdiff("enhance", calls, *options)
    assert (refused.code, refused.out) == (2, "")
    assert refused.complaint == f"exdiff: {file}: unknown key 'sead'; did you mean seed?"


# --- enhance: the other exit codes --------------------------------------------------------------------------


def test_no_input_is_four(exdiff: Exdiff, options: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "notes.txt").touch()
    called = exdiff("enhance", tmp_path / "calls", *options)
    assert (called.code, called.out) == (4, "")
    assert "no recordings found" in called.complaint
    assert not (tmp_path / "calls-enhanced").exists()


def test_a_held_folder_is_seventy_five(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    with locked(tmp_path / "out"):
        called = exdiff("enhance", calls, "-o", tmp_path / "out", *options)
    assert (called.code, called.out) == (75, "")
    assert "another run" in called.complaint


def test_what_nobody_foresaw_is_one(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(engine, "enhance_found", fail)
    called = exdiff("enhance", calls, *options)
    assert (called.code, called.out) == (1, "")
    assert called.complaint.endswith(r"internal error: RuntimeError: first line\nsecond line; please report it")


def test_an_interrupt_is_one_line(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "enhance_found", fail)
    called = exdiff("enhance", calls, *options)
    assert (called.code, called.out) == (130, "")
    assert "the same command goes on" in called.complaint


def test_what_to_enhance_may_come_as_a_list_and_be_narrowed_down(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\0".join(map(os.fsencode, calls.rglob("*.*"))))))
    only = ("--include", "*.wav", "--newer-than", "1d")
    called = exdiff("enhance", "--files-from", "-", "-0", "-o", out, *options, *only, "--json")
    assert called.code == 0
    done = [Path(each["output"]) for each in called.recordings]
    assert sorted(done) == sorted(out / path.relative_to("/") for path in calls.rglob("*.wav"))
    assert all(path.exists() for path in done)


def test_a_list_in_a_file(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    (first, *_) = sorted(calls.rglob("*.wav"))
    (tmp_path / "list").write_text(f"{first}\n{calls}/gone.wav\n")
    called = exdiff("enhance", "--files-from", tmp_path / "list", "-o", tmp_path / "out", *options)
    assert called.code == 3
    assert "gone.wav: does not exist" in called.complaint
    assert (tmp_path / "out" / first.relative_to("/")).exists()


def test_selecting_nothing_is_no_input(exdiff: Exdiff, calls: Path, options: tuple[object, ...]) -> None:
    called = exdiff("enhance", calls, *options, "--exclude", "*")
    assert called.code == 4
    assert "is selected" in called.complaint


def test_work_for_which_there_is_no_time_is_left(exdiff: Exdiff, calls: Path, options: tuple[object, ...]) -> None:
    called = exdiff("enhance", calls, *options, "--max-duration", "0.01s")
    assert called.code == 5
    assert " left" in called.out
    assert called.complaint.startswith("no time: ")
    assert f"go on with: exdiff enhance {calls}" in called.complaint
    assert exdiff("enhance", calls, *options, "--deadline", "2099-01-01T06:00", "--max-duration", "9h").code == 0


def test_a_newline_in_a_name_stays_on_its_line(exdiff: Exdiff, options: tuple[object, ...], tmp_path: Path) -> None:
    name = "two\nlines \x1b[31m" + os.fsdecode(b"\xe4") + ".wav"
    store(tmp_path / "in" / "plain.wav", 1.0).rename(tmp_path / "in" / name)
    (tmp_path / "in" / f"bad {name}").touch()
    called = exdiff("enhance", tmp_path / "in", "-o", tmp_path / "out", *options)
    assert called.code == 3
    assert r"bad two\nlines \x1b[31m\xe4.wav: is empty" in called.complaint
    assert "\x1b" not in called.out
    assert (tmp_path / "out" / name).exists()
    again = exdiff("enhance", tmp_path / "in", "-o", tmp_path / "out", *options, "--json")
    assert {Path(recording["source"]).name for recording in again.recordings} == {name, f"bad {name}"}


# --- the report at the end of a run, and `exdiff report` -----------------------------------------------------

REPORT_FILES = {"report.html", "report.csv", "run.json"}


def reported(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()} & REPORT_FILES


def test_a_run_ends_with_its_report(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (calls / "bad.wav").touch()
    called = exdiff("enhance", calls, "-o", out, *options, "--price-per-hour", 3600)
    assert called.code == 3
    assert "see report.html there" in " ".join(called.out.split())
    assert reported(out) == REPORT_FILES
    run = json.loads((out / "run.json").read_text())
    assert (run["recordings"]["done"], run["recordings"]["failed"]) == (2, 1)
    assert run["cost"] == pytest.approx(sum(run["seconds"].values()), abs=0.02)
    (calls / "bad.wav").unlink()
    again = exdiff("enhance", calls, "-o", out, *options, "--json")
    assert again.lines[-1]["report"] == str(out / "report.html")
    assert (again.code, again.err) == (0, "")


def test_a_run_that_changes_nothing_leaves_its_report(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exdiff("enhance", calls, "-o", out, *options)
    before = {name: (out / name).stat().st_ino for name in REPORT_FILES}
    exdiff("enhance", calls, "-o", out, *options)
    assert {name: (out / name).stat().st_ino for name in REPORT_FILES} == before
    (out / "report.csv").unlink()
    exdiff("enhance", calls, "-o", out, *options)
    assert reported(out) == REPORT_FILES


def steps_told(out: Path) -> object:
    (settings,) = json.loads((out / "run.json").read_text())["settings"]
    return settings["sampler.steps"]


def test_a_run_after_one_without_a_report_makes_it(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exdiff("enhance", calls, "-o", out, *options, "--steps", 0)
    exdiff("enhance", calls, "-o", out, *options, "--steps", 1, "--no-report")
    assert steps_told(out) == 0
    called = exdiff("enhance", calls, "-o", out, *options, "--steps", 1, "--json")
    assert (called.code, called.lines[-1]["done"], called.lines[-1]["report"]) == (0, 0, str(out / "report.html"))
    assert steps_told(out) == 1


def test_a_signal_that_leaves_no_work_leaves_a_report(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while the last recording is scored, and what is in hand is done in the time of grace."""
    out = tmp_path / "out"
    (calls / "1.wav").unlink()
    exdiff("enhance", calls, "-o", out, *options, "--steps", 0)
    sent = iter([signal.SIGTERM])

    def score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
        for number in sent:
            os.kill(os.getpid(), number)
        return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(Dnsmos, "score", score)
    called = exdiff("enhance", calls, "-o", out, *options, "--steps", 1, "--json")
    assert next(sent, None) is None
    assert "SIGTERM: finishing what is in hand" in called.complaint
    assert (called.code, called.lines[-1]["done"], called.lines[-1]["report"]) == (0, 1, str(out / "report.html"))
    assert steps_told(out) == 1


def test_no_report_is_no_report(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    called = exdiff("enhance", calls, "-o", tmp_path / "out", *options, "--no-report", "--json")
    assert (called.code, called.lines[-1]["report"]) == (0, None)
    assert not reported(tmp_path / "out")


def test_a_report_that_cannot_be_written_is_a_problem_beside_the_results(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.csv").write_text("mine")
    called = exdiff("enhance", calls, "-o", out, *options, "--json")
    assert (called.code, called.lines[-1]["done"], called.lines[-1]["report"]) == (3, 2, None)
    assert "report.csv: lies where the report is to be written" in called.complaint
    assert (out / "report.csv").read_text() == "mine"
    assert reported(out) == {"report.csv"}
    refused = exdiff("report", out)
    assert (refused.code, "exdiff did not make it" in refused.complaint) == (3, True)
    (out / "report.csv").unlink()
    monkeypatch.setattr("exdiff_cli.report.run_report.run_page", lambda *_: 1 / 0)
    called = exdiff("enhance", calls, "-o", out, *options, "--json")
    assert (called.code, "ZeroDivisionError" in called.complaint) == (3, True)


def test_report_makes_it_anew(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    exdiff("enhance", calls, "-o", out, *options, "--no-report")
    called = exdiff("report", out)
    assert (called.code, called.err, called.out) == (0, "", f"{out / 'report.html'}\n")
    assert reported(out) == REPORT_FILES
    assert len(list((out / "report-files").iterdir())) == 2
    (line,) = exdiff("report", out, "--json", "--pictures", "all").lines
    assert (line["message_type"], line["recordings"]["done"], line["pictures"]) == ("report", 2, 2)
    assert exdiff("verify", out).code == 0


def test_a_disk_that_takes_no_report_is_three(
    exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report that was there stays, all of it."""
    out, other = tmp_path / "out", tmp_path / "other"
    for folder in (out, other):
        exdiff("enhance", calls, "-o", folder, *options)
    before = {name: (out / name).read_bytes() for name in REPORT_FILES}
    for room, lacks in ((36_000, "report.html: cannot be written"), (10_000, "manifest.sqlite: cannot be read")):
        with file_size_limit(room):
            called = exdiff("report", out)
        assert (called.code, lacks in called.complaint) == (3, True)
    assert {name: (out / name).read_bytes() for name in REPORT_FILES} == before
    assert not list(out.glob(TEMPORARY_GLOB))
    for number, code in ((errno.ENOSPC, 3), (errno.EACCES, 2)):
        refusal = OSError(number, os.strerror(number))
        monkeypatch.setattr("exdiff_cli.publish.os.replace", lambda *_, refusal=refusal: (_ for _ in ()).throw(refusal))
        called = exdiff("report", out, "--compare", other, "--csv", tmp_path / "compared.csv")
        assert (called.code, "compared.csv: cannot be written" in called.complaint) == (code, True)


@pytest.mark.parametrize("price", ["inf", "nan", "-1", "1e308"])
def test_a_price_that_is_none_begins_nothing(exdiff: Exdiff, calls: Path, tmp_path: Path, price: str) -> None:
    for call in (("enhance", calls, "-o", tmp_path / "out"), ("enhance", calls, "--dry-run"), ("report", tmp_path)):
        called = exdiff(*call, "--price-per-hour", price)
        assert (called.code, f"--price-per-hour {float(price):g}: give" in called.complaint) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--pictures", "some"), "--pictures some"),
        (("--pictures", "-1"), "--pictures -1"),
        (("--csv", "a.csv"), "--csv"),
        (("--compare", "nowhere"), "no manifest"),
    ],
)
def test_report_calls_that_are_wrong(
    exdiff: Exdiff, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    Manifest.open(tmp_path / "out").close()
    called = exdiff("report", tmp_path / "out", *arguments)
    assert called.code == 2
    assert complaint in called.complaint


def test_two_folders_are_compared(exdiff: Exdiff, calls: Path, options: tuple[object, ...], tmp_path: Path) -> None:
    outs = tmp_path / "one", tmp_path / "two"
    for steps, out in enumerate(outs):
        assert exdiff("enhance", calls, "-o", out, *options, "--steps", steps, "--no-report").code == 0
    called = exdiff("report", outs[0], "--compare", outs[1], "--csv", tmp_path / "pairs.csv")
    assert (called.code, called.err) == (0, "")
    assert "sampler.steps" in called.out
    assert len((tmp_path / "pairs.csv").read_text().splitlines()) == 3
    *pairs, found = exdiff("report", outs[0], "--compare", outs[1], "--json").lines
    assert [pair["recording"] for pair in pairs] == ["0.wav", "1.wav"]
    assert found["settings"]["sampler.steps"] == {"first": [0], "second": [1]}
    assert found["mean_difference"]["ovrl"]["value"] == 0
    assert not reported(outs[0])


# --- the other commands -------------------------------------------------------------------------------------


def test_version_and_help() -> None:
    runner = CliRunner()
    version = runner.invoke(cli.app, ["--version"])
    assert (version.exit_code, version.output) == (0, f"exdiff {__version__}\n")
    for command in ([], ["train"], ["enhance"], ["evaluate"], ["bundle"], ["picture"], ["bench"]):
        shown = runner.invoke(cli.app, [*command, "--help"])
        assert shown.exit_code == 0
        assert "Usage" in shown.output


@pytest.mark.eval
def test_evaluate_as_json_and_as_a_table(exdiff: Exdiff, options: tuple[object, ...], tmp_path: Path) -> None:
    for kind in ("noisy", "clean"):
        (tmp_path / kind).mkdir()
        shutil.copy(DATA / f"{kind}.wav", tmp_path / kind / "a.wav")
    given = ("evaluate", tmp_path / "noisy", tmp_path / "clean", *options, "--steps", "1,2")
    called = exdiff(*given, "--json")
    assert (called.code, called.err) == (0, "")
    (found,) = called.lines
    assert (found["message_type"], found["pairs"]) == ("evaluation", 1)
    assert [(row["system"], row["steps"]) for row in found["systems"]][-2:] == [
        ("diffuse, latents dropped", 2),
        ("ex-diff", 2),
    ]
    assert all({"pesq", "estoi", "si_sdr", "sig", "bak", "ovrl"} <= set(row) for row in found["systems"])
    files = ("--csv", tmp_path / "rows.csv", "--plot", tmp_path / "scores.png")
    table = exdiff(*given, "--measures", "separation", "--no-latents", *files)
    assert (table.code, table.err) == (0, "")
    assert "ex-diff" in table.out
    assert "dropped" not in table.out
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + 4
    assert (tmp_path / "scores.png").stat().st_size > 1000


def test_evaluate_takes_the_validation_set_that_train_writes(
    exdiff: Exdiff, options: tuple[object, ...], data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "SNRS", (5.0,))
    monkeypatch.setattr(validation, "ROUNDS", 1)
    written = exdiff("train", "validation", "--data", data_dir, "--out", tmp_path / "set")
    assert (written.code, written.err) == (0, "")
    again = exdiff("train", "validation", "--data", data_dir, "--out", tmp_path / "set")
    assert again.code == 2
    assert "set: exists" in again.complaint
    called = exdiff("evaluate", tmp_path / "set", *options, "--steps", "1", "--measures", "separation", "--json")
    assert called.code == 0
    found = json.loads(called.out)
    assert set(found["by"]["noise"]) >= {"coloured", "machine", "impacts", "babble"}
    assert found["pairs"] == len(found["by"]["noise"])


@pytest.mark.parametrize(("kind", "said"), [("--by-example", "sounds"), ("--sites", "sites")])
def test_sets_of_a_folder_a_sound_are_written_for_evaluate(
    exdiff: Exdiff, options: tuple[object, ...], data_dir: Path, tmp_path: Path, kind: str, said: str
) -> None:
    written = exdiff("train", "validation", "--data", data_dir, "--out", tmp_path / "set", kind)
    folders = sorted((tmp_path / "set").iterdir())
    assert written == Called(0, f"{tmp_path / 'set'}: {len(folders)} {said}\n", "")
    called = exdiff("evaluate", folders[0], *options, "--measures", "separation", "--no-latents", "--json")
    assert called.code == 0
    assert json.loads(called.out)["pairs"] == len(list((folders[0] / "noisy").iterdir()))


def test_bundle_makes_what_enhance_takes(exdiff: Exdiff, bundle_folder: Path, calls: Path, tmp_path: Path) -> None:
    extract = save_separator(tmp_path / "extract.safetensors", seed=4)
    diffuse = bundle_folder / "diffuse.safetensors"
    called = exdiff("bundle", "--extract", extract, "--diffuse", diffuse, "--out", tmp_path / "made")
    assert called == Called(0, f"{tmp_path / 'made'}\n", "")
    assert load_bundle(str(tmp_path / "made")).name == "made"
    chosen = ("--steps", "3", "--start", "0.25", "--sampler-strength", "0.75")
    exdiff("bundle", "--extract", extract, "--diffuse", diffuse, "--out", tmp_path / "other", *chosen)
    sampler = load_bundle(str(tmp_path / "other")).sampler
    assert (sampler.steps, sampler.start, sampler.strength) == (3, 0.25, 0.75)
    refused = exdiff(
        "bundle", "--extract", extract, "--diffuse", diffuse, "--out", tmp_path / "no", "--sampler-strength", "2"
    )
    assert refused.code == 2
    assert "--sampler-strength 2" in refused.complaint
    assert not (tmp_path / "no").exists()
    assert exdiff("enhance", calls / "0.wav", "--bundle", tmp_path / "made").code == 0
    swapped = exdiff("bundle", "--extract", diffuse, "--diffuse", extract, "--out", tmp_path / "swapped")
    assert swapped.code == 2
    assert "give those of extract" in swapped.complaint


def test_picture_names_what_it_made(exdiff: Exdiff, tmp_path: Path) -> None:
    called = exdiff("picture", DATA / "noisy.wav", DATA / "clean.wav", "-o", tmp_path / "a.png")
    assert called == Called(0, f"{tmp_path / 'a.png'}\n", "")
    assert (tmp_path / "a.png").stat().st_size > 20_000
    missing = exdiff("picture", DATA / "noisy.wav", tmp_path / "gone.wav")
    assert missing.code == 3
    assert "gone.wav: does not exist" in missing.complaint


def test_bench_as_json_and_as_a_table(exdiff: Exdiff, options: tuple[object, ...]) -> None:
    called = exdiff("bench", *options, "--seconds", 1, "--steps", 1, "--json")
    assert (called.code, called.err) == (0, "")
    assert [(line["message_type"], line["steps"]) for line in called.lines] == [("bench", 1)]
    table = exdiff("bench", *options, "--seconds", 1)
    assert (table.code, table.err) == (0, "")
    assert "real time factor" in table.out


@pytest.mark.parametrize(("text", "counts"), [("4", [4]), ("1,2,4", [1, 2, 4]), (" 1, 2", [1, 2])])
def test_steps(text: str, counts: list[int]) -> None:
    assert parse_steps(text) == counts


# --- real processes -----------------------------------------------------------------------------------------

MAIN = "from exdiff_cli.cli import main; main()"


def process(script: str, *arguments: object, cwd: Path | None = None) -> Called:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert "Traceback" not in ended.stdout + ended.stderr
    return Called(ended.returncode, ended.stdout, ended.stderr)


HEAVY = """
import sys
from exdiff_cli import cli
try:
    cli.main()
finally:
    print(sorted({"torch", "scipy", "matplotlib", "onnxruntime"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("enhance", "--help"), ("status", "OUT"), ("config", "show", "OUT")]
)
def test_what_needs_no_model_loads_none(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with locked(tmp_path), Manifest.open(tmp_path):
        pass
    called = process(HEAVY, *(str(tmp_path) if argument == "OUT" else argument for argument in arguments))
    assert (called.code, called.err) == (0, "")
    assert called.out.splitlines()[-1] == "[]"


def test_a_recording_that_is_not_there_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    called = process(HEAVY, "enhance", tmp_path / "none.wav")
    assert called.code == 2
    assert called.err == f"exdiff: {tmp_path / 'none.wav'}: does not exist; check the path\n"
    assert called.out.splitlines()[-1] == "[]"


def test_a_process_leaves_stderr_empty_and_stdout_clean(
    calls: Path, options: tuple[object, ...], tmp_path: Path
) -> None:
    called = process(MAIN, "enhance", calls / "0.wav", "-o", tmp_path / "out", *options, "--json")
    assert (called.code, called.err) == (0, "")
    (recording,) = called.recordings
    report = QualityReport.model_validate(recording["report"])
    assert report.before.dnsmos is not None
    assert report.after.dnsmos is not None


STOPPED = """
import os, signal
from exdiff_cli.enhancer import Enhancer
from exdiff_cli.measures.dnsmos import Dnsmos
enhance, batches = Enhancer.enhance, []

def stop_in_the_middle(self, pieces):
    batches.append(pieces)
    if len(batches) == 3:
        os.kill(os.getpid(), signal.SIGNAL)
    return enhance(self, pieces)

Enhancer.enhance = stop_in_the_middle
Dnsmos.score = lambda self, windows: []
from exdiff_cli.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_process_leaves_nothing_half_done(
    exdiff: Exdiff, options: tuple[object, ...], tmp_path: Path, number: signal.Signals
) -> None:
    store(tmp_path / "in" / "long.wav", 40.0, rate=8_000)
    given = ("enhance", tmp_path / "in", "-o", tmp_path / "out", *options, "--batch", 1, "--steps", 1)
    called = process(STOPPED.replace("SIGNAL", number.name), *given, "--grace", "0.01s")
    assert called.code == 128 + number
    assert "1 left" in called.out
    assert f"{number.name}: finishing what is in hand" in called.err
    assert f"{number.name}: 1 left to do; go on with: exdiff enhance " in called.err
    assert not list((tmp_path / "out").rglob(TEMPORARY_GLOB))
    assert not (tmp_path / "out" / "long.wav").exists()
    assert exdiff(*given).code == 0
    assert (tmp_path / "out" / "long.wav").exists()


# Root may read every recording and nobody no interpreter: so it changes once all modules are loaded.
AS_NOBODY = f"""
import os, sys
from exdiff_cli.cli import main
from exdiff_cli.measures.dnsmos import Dnsmos
Dnsmos.score = lambda self, windows: []
warm_up, *given = sys.argv[1:]
sys.argv = ["exdiff", "enhance", warm_up, *given[1:], "-q"]
try:
    main()
except SystemExit as ended:
    assert not ended.code
if os.geteuid() == 0:
    os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
sys.argv = ["exdiff", "enhance", *given, "-o", "out", "--json"]
main()
"""


def test_every_kind_of_bad_file_in_one_folder(bundle_folder: Path) -> None:
    # Not below tmp_path, whose parents are closed to other users.
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        bundle = shutil.copytree(bundle_folder, root / "bundle")
        good = [store(root / "in" / name, 1.0) for name in ("a.wav", "m.flac", "z.wav")]
        (root / "in" / "empty.wav").touch()
        (root / "in" / "text.wav").write_text("minutes of the meeting\n" * 99)
        cut_off(store(root / "in" / "cut.flac", 5.0), 0.5)
        (root / "in" / "folder.wav").mkdir()
        store(root / "in" / "closed.wav").chmod(0)
        bad = {"empty.wav", "text.wav", "cut.flac", "folder.wav", "closed.wav"}
        (root / "out").mkdir()
        for path in (root, *root.rglob("*")):
            if path.name != "closed.wav":
                path.chmod(0o777)
        warm_up = store(root / "warm.wav", 1.0)
        called = process(AS_NOBODY, warm_up, root / "in", "--bundle", bundle, "--steps", 0, cwd=root)
        assert called.code == 3
        states = {recording["recording"]: recording["state"] for recording in called.recordings}
        assert states == dict.fromkeys((path.name for path in good), "done") | dict.fromkeys(bad, "failed")
        lines = called.err.splitlines()
        assert all(line.startswith(f"failed: {root / 'in'}/") for line in lines)
        assert {Path(line.split(": ")[1]).name for line in lines} == bad
        assert len(lines) == len(bad)
        assert any("closed.wav: reading it is not permitted" in line for line in lines)
        assert not list((root / "out").rglob(TEMPORARY_GLOB))
        (root / "in" / "closed.wav").chmod(0o600)


def test_the_help_loads_nothing_heavy() -> None:
    """Not even NumPy: it is asked for far more often than anything is enhanced."""
    heavy = ("av", "jinja2", "matplotlib", "numpy", "onnxruntime", "pydantic", "scipy", "soundfile", "torch")
    code = f"import exdiff_cli.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
