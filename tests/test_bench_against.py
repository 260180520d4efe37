"""A run against a stored one, the picture of both, and what the command refuses."""

from __future__ import annotations

import copy
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from exdiff_cli import cli
from exdiff_cli.bench import peak
from exdiff_cli.bench.against import compare, read_stored
from exdiff_cli.bench.plot import draw_bench
from exdiff_cli.errors import UsageError
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore

FIGURES: dict[str, Any] = {
    "message_type": "bench",
    "bundle": "tiny",
    "weights_sha256": "ab",
    "device": "cpu",
    "threads": 2,
    "batch": 1,
    "steps": 2,
    "audio_seconds": 60.0,
    "files": 1,
    "failed": 0,
    "real_time_factor": 0.08,
    "cpu_seconds": 0.12,
    "by_stage": {"decode": 0.001, "resample": 0.0, "extract": 0.02, "diffuse": 0.04},
    "peak_memory_mib": 900,
    "machine": {
        "processor": "one",
        "cores": 2,
        "memory_mib": 8_000,
        "torch": "2.11",
        "exdiff": "0.1",
        "device_name": "one",
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(FIGURES), **changes}


def test_a_run_against_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_text(json.dumps(FIGURES))
    found: Any = compare(FIGURES, read_stored(tmp_path / "a.json"))
    assert (found["real_time_factor"], found["cpu_seconds"], found["peak_memory_mib"]) == (1, 1, 1)
    assert found["by_stage"] == {"decode": 1, "extract": 1, "diffuse": 1}  # Nothing to compare where nothing was done.
    assert (found["differs"], found["exdiff"], caplog.text) == ([], "0.1", "")


def test_ratios_are_of_this_run_to_the_stored_one() -> None:
    stored = changed(real_time_factor=0.16, by_stage={"decode": 0.0, "extract": 0.01, "gone": 1.0})
    found: Any = compare(FIGURES, stored)
    assert (found["real_time_factor"], found["by_stage"]) == (0.5, {"extract": 2.0})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": {**FIGURES["machine"], "processor": "another"}}, "machine: processor is one, and was another"),
        ({"machine": {**FIGURES["machine"], "torch": "2.10"}}, "machine: torch is 2.11, and was 2.10"),
        ({"machine": None}, "machine: the stored run does not tell its own"),
        ({"audio_seconds": 600.0}, "audio: audio seconds is 60.0, and was 600.0"),
        ({"threads": 8}, "settings: threads is 2, and was 8"),
        ({"steps": 1}, "settings: steps is 2, and was 1"),
    ],
)
def test_another_setting_is_warned_of(changes: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture) -> None:
    found: Any = compare(FIGURES, changed(**changes))
    assert len(found["differs"]) == 1
    assert words in found["differs"][0]
    assert words in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_another_version_of_exdiff_is_what_is_compared(caplog: pytest.LogCaptureFixture) -> None:
    found = compare(FIGURES, changed(machine={**FIGURES["machine"], "exdiff": "0.0"}))
    assert (found["exdiff"], found["differs"], caplog.text) == ("0.0", [], "")


WRONG = [
    "",
    "{",
    "[1]",
    "[" * 100_000,
    '{"message_type": "summary"}',
    '{"message_type": "bench"}',
    '{"message_type": "bench", "real_time_factor": NaN, "by_stage": {"a": 1}}',
    '{"message_type": "bench", "real_time_factor": true, "by_stage": {"a": 1}}',
    '{"message_type": "bench", "real_time_factor": 1, "by_stage": {"a": "fast"}}',
    '{"message_type": "bench", "real_time_factor": 1, "by_stage": []}',
]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:60])
def test_what_is_no_result_of_a_benchmark_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError, match=r"--against .*a.json: is not .*exdiff bench --json"):
        read_stored(tmp_path / "a.json")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b"\xe4")
    for name, words in (("gone.json", "No such file"), ("", "Is a directory"), ("latin.json", "is not one object")):
        with pytest.raises(UsageError, match=words):
            read_stored(tmp_path / name)


# --- the picture --------------------------------------------------------------------------------------------

SCALING = {
    "threads": {"1": {"real_time_factor": 0.14, "ratio": 1.75}, "2": {"real_time_factor": 0.08, "ratio": 1.0}},
    "batch": {"1": {"real_time_factor": 0.08, "ratio": 1.0}, "2": {"real_time_factor": 0.07, "ratio": 0.9}},
}
PUBLISHED = {"real_time_factor": 135.0, "times_faster": 1_700.0, "evaluations": 60, "evaluations_timed": 3}


def test_the_picture_has_a_row_for_what_was_measured(tmp_path: Path) -> None:
    against = compare(FIGURES, FIGURES)
    more: list[dict[str, Any]] = [{}, {"against": against}, {"scaling": SCALING}, {"published": PUBLISHED}]
    more.append({"against": against, "scaling": SCALING, "published": PUBLISHED})
    heights = []
    for each in more:
        draw_bench(changed(**each), tmp_path / "a.png")
        picture = image.imread(tmp_path / "a.png")
        assert picture.std() > 0.01
        heights.append(picture.shape[0])
    alone, beside, scaled, published, everything = heights
    assert alone == beside < min(scaled, published)
    assert everything > max(scaled, published)


def test_the_picture_may_be_svg_and_shows_any_name(tmp_path: Path) -> None:
    draw_bench(changed(bundle="<b>$x_{1$\udc80"), tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()


# --- the command --------------------------------------------------------------------------------------------

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """`exdiff bench` in this process, with a tiny bundle: its code, stdout and stderr."""

    def score(model: Dnsmos, windows: Sequence[Any]) -> list[DnsmosScore]:
        return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    monkeypatch.setattr(Dnsmos, "score", score)
    monkeypatch.setitem(peak.SIZES, "cpu", 64)

    def run(*options: object) -> tuple[int, str, str]:
        arguments = ["exdiff", "bench", "--bundle", bundle_folder, "--device", "cpu", *options]
        monkeypatch.setattr(sys, "argv", [str(each) for each in arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_a_run_is_compared_with_an_earlier_one_and_drawn(call: Call, tmp_path: Path) -> None:
    code, out, err = call("--seconds", 2, "--files", 2, "--json")
    assert (code, err) == (0, "")
    (tmp_path / "earlier.json").write_text(out)
    options = ("--seconds", 2, "--files", 2, "--against", tmp_path / "earlier.json", "--plot", tmp_path / "a.png")
    code, out, err = call(*options, "--json")
    assert (code, err) == (0, "")
    against = json.loads(out)["against"]
    assert against["differs"] == []
    assert against["real_time_factor"] > 0
    assert against["by_stage"].keys() >= {"decode", "extract", "diffuse", "score"}
    assert image.imread(tmp_path / "a.png").std() > 0.01
    code, out, err = call("--seconds", 1, "--against", tmp_path / "earlier.json")
    assert code == 0
    assert "against real time factor" in out
    assert "audio seconds is 1.0, and was 2.0" in err


def test_where_every_recording_fails_it_is_one_line_and_three(call: Call, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("no sound")
    code, out, err = call(tmp_path)
    (line,) = err.splitlines()
    assert (code, out) == (3, "")
    assert "broken.wav" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--plot", "FOLDER/a.jpeg"), "a.jpeg: give a name that ends in .png or .svg"),
        (("--plot", "FOLDER/gone/a.png"), "no file can be written there"),
        (("--against", "FOLDER/broken.json"), "broken.json: is not one object of JSON"),
        (("--against", "FOLDER/gone.json"), "gone.json: cannot be read"),
        (("--seconds", "1", "--files", "100000"), "--files 100000: 1 s are too short"),
        (("FOLDER", "--seconds", "3"), "--seconds: is for what is made"),
        (("FOLDER/gone.wav",), "gone.wav: does not exist"),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_is_measured(
    call: Call, tmp_path: Path, options: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exdiff_cli.enhancer.Enhancer.enhance", None)
    (tmp_path / "broken.json").write_text("{")
    code, out, err = call(*(option.replace("FOLDER", str(tmp_path)) for option in options))
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert words in line
