"""Settings from a file, the environment and flags: where the file is found, what counts, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from exdiff_cli import cli, logs
from exdiff_cli.commands.config import configured
from exdiff_cli.config import FILE_NAME, MAIN, find_config, read_config, unknown_variables, variable
from exdiff_cli.errors import UsageError

KNOWN = {
    MAIN: {"steps", "bundle", "max-duration"},
    ("bundle",): {"out"},
    ("evaluate",): {"steps"},
    ("train", "extract"): {"blocks"},
}

Show = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "archive" / "calls"
    folder.mkdir(parents=True)
    (folder / "a.wav").touch()
    return folder


@pytest.fixture
def show() -> Show:
    """What `config show --json` says, by option; the file under ``""``. Its refusals are raised."""

    def call(*arguments: object, **environment: str) -> dict[str, dict[str, Any]]:
        given = ["config", "show", "--json", *map(str, arguments)]
        result = CliRunner().invoke(cli.app, given, env=environment)
        if result.exception is not None:
            raise result.exception
        return {line.get("option", ""): line for line in map(json.loads, result.stdout.splitlines())}

    return call


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- where it is found --------------------------------------------------------------------------------------


def test_a_folder_is_asked_itself_then_beside(calls: Path) -> None:
    write(Path(FILE_NAME), "")
    assert find_config([calls]) is None
    beside = write(calls.parent / FILE_NAME, "")
    assert find_config([calls]) == beside
    within = write(calls / FILE_NAME, "")
    assert find_config([calls]) == find_config([calls / "a.wav"]) == within


def test_a_point_is_the_working_directory(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(calls)
    beside = write(calls.parent / FILE_NAME, "")
    assert find_config([Path()]) == beside
    assert find_config([]) is None
    within = write(calls / FILE_NAME, "")
    assert find_config([Path()]) == find_config([Path("a.wav")]) == find_config([]) == within


def test_inputs_with_different_files_are_refused(calls: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert find_config([calls, other]) is None
    write(calls / FILE_NAME, "")
    with pytest.raises(UsageError, match="name one by --config"):
        find_config([calls, other])
    shared = write(tmp_path / FILE_NAME, "")
    (calls / FILE_NAME).unlink()
    assert find_config([calls.parent, other]) == shared


# --- what may stand in it -----------------------------------------------------------------------------------


def test_enhance_stands_at_the_top_or_in_its_table(tmp_path: Path) -> None:
    path = write(tmp_path / FILE_NAME, "max_duration = '5h'\n[enhance]\nbundle='x'\n[bundle]\nout='y'\n")
    assert read_config(path, KNOWN) == {MAIN: {"max-duration": "5h", "bundle": "x"}, ("bundle",): {"out": "y"}}
    path = write(tmp_path / FILE_NAME, "[train.extract]\nblocks = 2")
    assert read_config(path, KNOWN) == {("train", "extract"): {"blocks": 2}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz = 1", "unknown key 'stepz'; did you mean steps"),
        ("[evalute]\nsteps = 1", r"unknown table \[evalute\]; did you mean evaluate"),
        ("[evaluate]\nstep = 1", r"unknown key 'step' in \[evaluate\]; did you mean steps"),
        ("[train.extrakt]\nblocks = 1", r"unknown table \[train.extrakt\]; did you mean extract"),
        ("[train]\nblocks = 1", r"unknown key 'blocks' in \[train\]; exdiff config show"),
        ("steps = 1\n[enhance]\nsteps = 2", "steps stands twice"),
        ("max-duration = '1h'\nmax_duration = '2h'", "max-duration stands twice"),
        ("\n\nsteps = = 1", "no valid TOML: .*line 3"),
    ],
)
def test_what_does_not_belong_is_refused_with_a_suggestion(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / FILE_NAME, text)
    with pytest.raises(UsageError, match=f"^{path}: .*{words}"):
        read_config(path, KNOWN)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.toml"):
        with pytest.raises(UsageError, match=f"{path}: cannot be read"):
            read_config(path, KNOWN)
    (tmp_path / "latin.toml").write_bytes(b"bundle = '\xe4'")
    with pytest.raises(UsageError, match="no valid TOML"):
        read_config(tmp_path / "latin.toml", KNOWN)


def test_strange_variables_get_a_hint() -> None:
    names = ("EXDIFF_STEPS", "EXDIFF_EVALUATE_STEPS", "EXDIFF_CONFIG", "EXDIFF_STEP", "EXDIFFUSE", "EXDIFF_QQQQQQ")
    foreign, slip = unknown_variables(names, KNOWN)
    assert slip == "EXDIFF_STEP is not used: no such setting; did you mean EXDIFF_STEPS?"
    assert foreign == "EXDIFF_QQQQQQ is not used: no such setting"


def test_every_option_of_every_command_has_a_variable_of_its_own() -> None:
    commands = configured(get_command(cli.app))
    assert {("enhance",), ("evaluate",), ("bundle",), ("train", "by-example")} <= set(commands)
    names = [variable(name, option) for name, command in commands.items() for option in command.options]
    assert len(set(names)) == len(names)
    assert {"EXDIFF_JSON", "EXDIFF_MAX_DURATION", "EXDIFF_ADAPT_OUTPUT", "EXDIFF_TRAIN_BY_EXAMPLE_BATCH"} <= set(names)


# --- what counts --------------------------------------------------------------------------------------------


def test_each_source_is_stronger_than_the_one_before(show: Show, calls: Path) -> None:
    def seed(*arguments: object, **environment: str) -> tuple[object, ...]:
        setting = show(calls, *arguments, **environment)["seed"]
        return setting["value"], setting["source"], setting["origin"]

    assert seed() == (0, "default", None)
    file = write(calls.parent / FILE_NAME, "seed = 1")
    assert seed() == (1, "file", str(file))
    assert seed(EXDIFF_SEED="") == (1, "file", str(file))
    assert seed(EXDIFF_SEED="2") == (2, "environment", "EXDIFF_SEED")
    assert seed("--seed", 3, EXDIFF_SEED="2") == (3, "flag", "--seed")


def test_a_named_file_stands_in_for_the_one_beside(show: Show, calls: Path, tmp_path: Path) -> None:
    beside = write(calls.parent / FILE_NAME, "seed = 1\nbatch = 2")
    named = write(tmp_path / "mine.toml", "seed = 5")
    for shown in (show(calls, "--config", named), show(calls, EXDIFF_CONFIG=str(named))):
        assert shown[""]["file"] == str(named)
        assert (shown["seed"]["value"], shown["batch"]["value"]) == (5, None)
    assert show(calls)[""]["file"] == str(beside)
    assert show(calls, "--config", "/dev/null")["seed"]["source"] == "default"


def test_a_file_holds_what_flags_can_say(show: Show, calls: Path) -> None:
    write(
        calls / FILE_NAME,
        """
        output = "clean"
        files-from = "-"
        bundle = "plain"
        query = "./birds"
        include = ["*.wav", "b/*"]
        exclude = "*.mp3"
        latents = false
        json = true
        price-per-hour = 2.5
        newer-than = 2026-05-31
        """,
    )
    found = {option: setting["value"] for option, setting in show(calls).items() if setting.get("source") == "file"}
    assert found == {
        "output": str(calls / "clean"),
        "files-from": "-",
        "bundle": "plain",
        "query": str(calls / "birds"),
        "include": ["*.wav", "b/*"],
        "exclude": ["*.mp3"],
        "latents": False,
        "json": True,
        "price-per-hour": 2.5,
        "newer-than": "2026-05-31",
    }


def test_the_environment_holds_what_flags_can_say(show: Show) -> None:
    shown = show(EXDIFF_LATENTS="no", EXDIFF_INCLUDE="*.wav *.mp3", EXDIFF_OUTPUT="clean", EXDIFF_PRICE_PER_HOUR="2")
    values = [shown[option]["value"] for option in ("latents", "include", "output", "price-per-hour")]
    assert values == [False, ["*.wav", "*.mp3"], "clean", 2.0]


def test_a_stronger_alternative_replaces_a_weaker_one(show: Show, calls: Path) -> None:
    write(calls / FILE_NAME, "preset = 'fast'")
    shown = show(calls, "--steps", 4)
    assert (shown["preset"]["value"], shown["steps"]["value"]) == (None, 4)
    shown = show(calls, "--preset", "best", EXDIFF_STEPS="3")
    assert (shown["preset"]["value"], shown["steps"]["value"]) == ("best", None)


def test_other_commands_have_tables_and_variables_of_their_own(show: Show, calls: Path) -> None:
    write(calls / FILE_NAME, "batch = 2\n[evaluate]\nsteps = '1,2'\nagainst = ['../other', 'plain']")
    shown = show("--command", "evaluate", calls, EXDIFF_SEED="3", EXDIFF_EVALUATE_SEED="4")
    assert (shown["steps"]["value"], shown["seed"]["value"]) == ("1,2", 4)
    assert shown["against"]["value"] == [str(calls / "../other"), "plain"]
    assert show("--command", "train extract", EXDIFF_TRAIN_EXTRACT_BLOCKS="3")["blocks"]["value"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch = 0", "batch: .*greater than or equal to 1"),
        ("batch = true", "batch: true is not one text or number"),
        ("batch = [1, 2]", r"batch: \[1, 2\] is not one text or number"),
        ("steps = 'four'", "steps: .*integer"),
        ("latents = 'no'", "latents: 'no' is neither true nor false"),
    ],
)
def test_values_are_checked_and_the_file_and_key_named(show: Show, calls: Path, text: str, words: str) -> None:
    file = write(calls / FILE_NAME, text)
    with pytest.raises(UsageError, match=f"^{file}: {words}"):
        show(calls)


def test_a_wrong_variable_is_named(show: Show) -> None:
    with pytest.raises(UsageError, match=r"^EXDIFF_BATCH: batch: "):
        show(EXDIFF_BATCH="many")


def test_what_the_command_refuses_later_names_the_file_too(calls: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(calls / FILE_NAME, "shard = '0/3'")
    caplog.set_level(logs.NOTICE, "exdiff_cli")
    result = CliRunner().invoke(cli.app, ["enhance", str(calls)])
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).endswith(f"(--shard is from {file})")
    assert f"settings from {file}" in caplog.text
    result = CliRunner().invoke(cli.app, ["enhance", str(calls), "--shard", "0/4"])
    assert str(result.exception).startswith("--shard 0/4: ")
    assert str(file) not in str(result.exception)


def test_the_table_names_file_and_flag(calls: Path) -> None:
    write(calls / FILE_NAME, "seed = 1\ngrace = '5s'")
    given = ["config", "show", str(calls), "--seed=7", "-o", "out"]
    result = CliRunner().invoke(cli.app, given, env={"COLUMNS": "300"})
    assert result.exit_code == 0
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if len(line.split()) > 2}
    assert f"{calls / FILE_NAME}" in lines["grace"]
    assert "5s" in lines["grace"]
    assert "--seed" in lines["seed"]
    assert "--output" in lines["output"]


def test_help_is_there_even_if_the_file_is_broken(calls: Path) -> None:
    write(calls / FILE_NAME, "seed = = 1")
    assert CliRunner().invoke(cli.app, ["enhance", str(calls), "--help"]).exit_code == 0


def test_no_such_command_gets_a_suggestion(show: Show) -> None:
    with pytest.raises(UsageError, match="--command evaluat: did you mean evaluate"):
        show("--command", "evaluat")
