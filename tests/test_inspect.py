"""What `inspect` tells of one file: in its folder, copied away, changed, or made by somebody else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from recordings import store
from tampering import alter, enhance_two, flip
from typer.testing import CliRunner

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.bundle import Bundle
from exdiff_cli.cli import app
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.errors import ExitCode, RecordingError, UsageError
from exdiff_cli.inspection import examine
from exdiff_cli.report.sidecar import GuardMark, TakenFrom, read_sidecar, sidecar_path, to_json


@pytest.fixture(scope="module")
def finished(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enhance_two(tmp_path_factory.mktemp("inspect"), bundle).parent


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """Recordings in `in`, whose results in `out` name those of the module's folder."""
    return shutil.copytree(finished, tmp_path / "root")


def test_a_file_in_its_folder_tells_all(finished: Path) -> None:
    found = examine(finished / "out" / "a.wav")
    assert (found.exit_code, found.wrong, found.original_state) == (ExitCode.OK, (), "as recorded")
    assert found.original == finished / "in" / "a.wav"
    assert found.original_sha256 == file_sha256(finished / "in" / "a.wav") == found.tag[-1].original_sha256
    assert found.sha256 == file_sha256(finished / "out" / "a.wav")
    assert found.report_path == sidecar_path(finished / "out" / "a.wav")


def test_a_file_that_was_copied_away_has_its_tag(finished: Path, tmp_path: Path) -> None:
    copied = shutil.copy(finished / "out" / "sub" / "b.flac", tmp_path / "exhibit.flac")
    found = examine(Path(copied))
    assert (found.exit_code, found.report_path, found.original_state) == (ExitCode.OK, None, "unknown")
    assert found.original_sha256 == file_sha256(finished / "in" / "sub" / "b.flac")
    assert any("no report lies beside it" in line for line in found.unknown)
    assert any("hash what you take for it" in line for line in found.unknown)


def test_a_changed_byte_of_the_file(root: Path) -> None:
    flip(root / "out" / "a.wav", 1_000)
    found = examine(root / "out" / "a.wav")
    assert found.exit_code is ExitCode.SOME_FAILED
    assert "not the file that its report describes" in found.wrong[0]


def test_an_original_that_changed_or_is_gone(finished: Path, root: Path) -> None:
    report = sidecar_path(root / "out" / "a.wav")
    report.write_text(report.read_text().replace(str(finished), str(root)))
    shutil.rmtree(root / "out" / STATE_FOLDER)
    assert examine(root / "out" / "a.wav").original_state == "as recorded"
    flip(root / "in" / "a.wav", 100)
    found = examine(root / "out" / "a.wav")
    assert (found.original_state, found.exit_code) == ("changed", ExitCode.SOME_FAILED)
    (root / "in" / "a.wav").unlink()
    found = examine(root / "out" / "a.wav")
    assert (found.original_state, found.exit_code) == ("missing", ExitCode.OK)


def test_a_relative_path_in_the_report_is_not_guessed(finished: Path, root: Path) -> None:
    report = sidecar_path(root / "out" / "a.wav")
    report.write_text(report.read_text().replace(f'"{finished}/in', '"in'))
    found = examine(root / "out" / "a.wav")
    assert found.original == finished / "in" / "a.wav"  # which the manifest knows
    shutil.rmtree(root / "out" / STATE_FOLDER)
    found = examine(root / "out" / "a.wav")
    assert (found.original, found.original_state) == (None, "unknown")
    assert any("a path from another folder" in line for line in found.unknown)


def test_tag_and_report_that_do_not_belong_together(root: Path) -> None:
    shutil.copy(sidecar_path(root / "out" / "sub" / "b.flac"), sidecar_path(root / "out" / "a.wav"))
    found = examine(root / "out" / "a.wav")
    assert "tag and report name different originals" in found.wrong
    sidecar_path(root / "out" / "a.wav").write_text("{}")
    found = examine(root / "out" / "a.wav")
    assert (found.report, found.exit_code) == (None, ExitCode.SOME_FAILED)
    assert "is not a quality report" in found.wrong[0]


def rewrite(path: Path, part: str | None = None, **changes: object) -> None:
    """Change fields of a report, or of a part of it."""
    report = read_sidecar(path)
    changes = changes if part is None else {part: getattr(report, part).model_copy(update=changes)}
    path.write_text(to_json(report.model_copy(update=changes)))


def test_a_report_that_is_not_the_one_of_the_manifest(root: Path) -> None:
    report = sidecar_path(root / "out" / "a.wav")
    rewrite(report, guard=(), changes=("nothing worth a word",))
    found = examine(root / "out" / "a.wav")
    assert found.wrong == ("its report is not as it was made: the manifest has another sha256 of it",)
    assert found.exit_code is ExitCode.SOME_FAILED
    alter(root / "out", "UPDATE recordings SET report_sha256 = NULL WHERE relative = 'a.wav'")
    assert examine(root / "out" / "a.wav").wrong == ()  # as an older exdiff left it
    rewrite(report, settings_key="x")
    assert examine(root / "out" / "a.wav").wrong == ("its report and the manifest differ: settings_key",)


def test_a_file_and_a_report_that_fit_each_other_and_not_the_manifest(root: Path) -> None:
    path = root / "out" / "a.wav"
    flip(path, 1_000)
    rewrite(sidecar_path(path), "output", sha256=file_sha256(path))
    (root / "out" / "sub" / STATE_FOLDER).mkdir()  # which hides nothing
    assert any("not the file of the manifest" in each for each in examine(path).wrong)
    second = root / "out" / "sub" / "b.flac"
    rewrite(sidecar_path(second), seed=7)
    assert any("report is not as it was made" in each for each in examine(second).wrong)


def test_a_report_that_makes_a_result_an_original(root: Path) -> None:
    shutil.rmtree(root / "out" / STATE_FOLDER)
    path = sidecar_path(root / "out" / "a.wav")
    rewrite(path, taken_from=TakenFrom.ORIGINAL)
    assert examine(root / "out" / "a.wav").wrong == (
        "its report says that it is the original itself, and its tag that it was made of that",
    )
    rewrite(path, "input", sha256="e" * 64)  # as of a recording that had been enhanced before
    assert not any("original itself" in each for each in examine(root / "out" / "a.wav").wrong)


def test_marks_and_changes_are_told(root: Path) -> None:
    path = sidecar_path(root / "out" / "a.wav")
    mark = GuardMark(start_s=0.1, end_s=0.25, channels=(0, 1), reason="speech of another colour", decibels=12.3)
    path.write_text(to_json(read_sidecar(path).model_copy(update={"guard": (mark,), "changes": ("loudness changed",)})))
    lines = examine(root / "out" / "a.wav").lines()
    assert "guard     0.10 to 0.25 s, channels 0, 1: speech of another colour, by 12.3 dB" in lines
    assert "change    loudness changed" in lines


def test_a_file_of_a_format_without_tags_has_its_report(bundle: Bundle, root: Path) -> None:
    """As an older exdiff left it: the tag is gone, the report is not."""
    plain = store(root / "out" / "a.wav", 0.4)
    path = sidecar_path(plain)
    report = read_sidecar(path)
    output = report.output.model_copy(update={"sha256": file_sha256(plain)})
    path.write_text(to_json(report.model_copy(update={"output": output})))
    shutil.rmtree(root / "out" / STATE_FOLDER)
    found = examine(plain)
    assert (found.tag, found.exit_code, found.wrong) == ((), ExitCode.OK, ())


def call(path: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", str(path), *options])
    return result.exit_code, result.stdout


def test_the_command(finished: Path, root: Path, tmp_path: Path) -> None:
    code, out = call(finished / "out" / "a.wav")
    assert code == 0
    assert "tag       exdiff " in out
    assert f"original  {finished / 'in' / 'a.wav'}: as recorded" in out
    code, out = call(finished / "in" / "a.wav")
    assert code == 4
    assert "nothing says that exdiff made this file" in out
    flip(root / "out" / "a.wav", 1_000)
    code, out = call(root / "out" / "a.wav", "--json")
    told = json.loads(out)
    assert (code, told["exit_code"], told["message_type"]) == (3, 3, "inspection")
    assert told["tag"][0]["original_sha256"] == told["original_sha256"]
    assert told["wrong"]
    with pytest.raises(UsageError, match="does not exist"):
        examine(tmp_path / "nowhere")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(RecordingError):
        examine(tmp_path / "text.wav")


def test_any_name_is_safe_to_print(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"<b>\n\xff.wav")
    shutil.copy(finished / "out" / "a.wav", path)
    code, out = call(path)
    assert code == 0
    assert "<b>\\n\\xff.wav" in out
    assert json.loads(call(path, "--json")[1])["file"] == str(path)
