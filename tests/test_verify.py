"""Every changed byte of a result, a report or a row is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tampering import OTHER, alter, enhance_two, flip
from typer.testing import CliRunner

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.bundle import Bundle
from exdiff_cli.cli import app
from exdiff_cli.manifest import Manifest
from exdiff_cli.report.sidecar import sidecar_path
from exdiff_cli.verify import verify


@pytest.fixture(scope="module")
def finished(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enhance_two(tmp_path_factory.mktemp("verify"), bundle)


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def found(out: Path) -> list[tuple[str, str]]:
    return [(Path(finding.output).name, finding.problem) for finding in verify(out)]


def test_what_is_intact_passes(out: Path) -> None:
    assert found(out) == []


def test_one_byte_of_a_result(out: Path) -> None:
    flip(out / "a.wav", 1_000)
    assert found(out) == [("a.wav", "changed")]


def test_any_byte_of_a_report(out: Path) -> None:
    report = sidecar_path(out / "sub" / "b.flac")
    whole = report.read_bytes()
    for place in range(0, len(whole), 97):
        flip(report, place)
        assert found(out) == [("b.flac", "report changed")], place
        report.write_bytes(whole)
    report.unlink()
    assert found(out) == [("b.flac", "report missing")]


@pytest.mark.parametrize("column", ["sha256", "output_sha256", "settings_key", "weights_sha256"])
def test_a_row_that_was_altered(out: Path, column: str) -> None:
    alter(out, f"UPDATE recordings SET {column} = '{OTHER}' WHERE relative = 'a.wav'")
    (finding,) = verify(out)
    assert (finding.recording, finding.problem) == ("a.wav", "row altered")
    assert finding.detail == {"sha256": "original_sha256"}.get(column, column)


@pytest.mark.parametrize("column", ["size", "output_size"])
def test_a_size_that_was_altered(out: Path, column: str) -> None:
    alter(out, f"UPDATE recordings SET {column} = {column} + 1 WHERE relative = 'a.wav'")
    assert found(out) == [("a.wav", "row altered")]


def test_a_row_that_does_not_fit_its_report_any_more(out: Path) -> None:
    alter(out, f"UPDATE recordings SET report_sha256 = '{OTHER}' WHERE relative = 'a.wav'")
    assert found(out) == [("a.wav", "report changed")]


def test_a_row_that_was_deleted_and_a_report_that_was_added(out: Path) -> None:
    alter(out, "DELETE FROM recordings WHERE relative = 'a.wav'")
    shutil.copy(sidecar_path(out / "a.wav"), sidecar_path(out / "sub" / "new.wav"))
    assert found(out) == [("a.wav", "not in the manifest"), ("new.wav", "not in the manifest")]


def test_all_three_at_once(out: Path) -> None:
    flip(out / "a.wav", 1_000)
    flip(sidecar_path(out / "a.wav"), 50)
    alter(out, f"UPDATE recordings SET sha256 = '{OTHER}' WHERE relative = 'sub/b.flac'")
    assert found(out) == [("a.wav", "report changed"), ("a.wav", "changed"), ("b.flac", "row altered")]


def test_another_output_folder_below_is_its_own_matter(out: Path, finished: Path) -> None:
    shutil.copytree(finished, out / "sub" / "other")
    assert found(out) == []


def test_rows_of_an_older_version_have_no_report_to_check(out: Path) -> None:
    alter(out, "UPDATE recordings SET report_sha256 = NULL WHERE relative = 'a.wav'")
    path = sidecar_path(out / "a.wav")
    path.write_text(path.read_text() + "\n")
    assert found(out) == []
    path.unlink()
    assert found(out) == []


def test_the_command_names_them_and_ends_with_three(out: Path) -> None:
    alter(out, f"UPDATE recordings SET sha256 = '{OTHER}' WHERE relative = 'a.wav'")
    shown = CliRunner().invoke(app, ["verify", str(out)])
    assert shown.exit_code == 3
    assert f"{out / 'a.wav'}: row altered (original_sha256)" in shown.stdout
    assert "2 results checked, 1 not as they were made" in shown.stdout
    lines = [json.loads(line) for line in CliRunner().invoke(app, ["verify", str(out), "--json"]).stdout.splitlines()]
    assert [line["message_type"] for line in lines] == ["finding", "summary"]
    assert (lines[0]["problem"], lines[0]["detail"]) == ("row altered", "original_sha256")


def test_a_run_keeps_the_hash_of_the_report(out: Path) -> None:
    with Manifest.open(out, read_only=True) as manifest:
        rows = list(manifest.rows())
    assert [row.report_sha256 for row in rows] == [file_sha256(sidecar_path(out / row.result)) for row in rows]
