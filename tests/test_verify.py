"""Every changed byte of a result, a report or a row is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import short_settings
from recordings import store
from tampering import OTHER, alter, enhance_two, flip
from typer.testing import CliRunner

from exdiff_cli import engine
from exdiff_cli.audio.io import file_sha256
from exdiff_cli.bundle import Bundle
from exdiff_cli.cli import app
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.engine import RunOptions, enhance_all
from exdiff_cli.gates import reports_of
from exdiff_cli.manifest import Manifest, fingerprint
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.report.sidecar import sidecar_path
from exdiff_cli.settings import Resources
from exdiff_cli.status import read_status
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


def test_another_output_folder_below_is_told(out: Path, finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(finished, out / "sub" / "other")
    assert found(out) == []
    assert "sub/other: another output folder (not checked; verify it by itself)" in caplog.text
    assert [(found.output, found.problem) for found in verify(out, is_strict=True)] == [
        (str(out / "sub" / "other"), "another output folder")
    ]


def test_a_folder_that_only_looks_like_another_output_folder_is_searched(out: Path) -> None:
    (out / "new" / STATE_FOLDER).mkdir(parents=True)
    shutil.copy(sidecar_path(out / "a.wav"), sidecar_path(out / "new" / "c.wav"))
    assert found(out) == [("c.wav", "not in the manifest")]


def test_an_earlier_result_of_what_failed_since(out: Path) -> None:
    with Manifest.open(out) as manifest:
        row = manifest.get(Path("a.wav"))
        assert row is not None
        manifest.start(row.relative, row.source, fingerprint(row.source), settings_key="k", weights_sha256="w")
        manifest.fail(row.relative, row.source, "the sampler is not trusted in it")
    (finding,) = verify(out)
    assert (finding.recording, finding.output, finding.problem) == ("a.wav", str(out / "a.wav"), "left over")
    assert finding.detail == "of an earlier run, or added: its recording is marked as failed"


def test_an_earlier_result_that_is_still_to_be_replaced_is_no_finding(out: Path) -> None:
    alter(out, "UPDATE recordings SET state = 'pending' WHERE relative = 'a.wav'")
    assert found(out) == []
    assert [(found.recording, found.problem) for found in verify(out, is_strict=True)] == [("a.wav", "left over")]


def test_an_earlier_result_of_another_format(out: Path) -> None:
    for path in (out / "a.wav", sidecar_path(out / "a.wav")):
        shutil.copy(path, path.with_name(path.name.replace("a.wav", "a.wav.flac")))
    alter(out, "UPDATE recordings SET output = 'a.wav.flac' WHERE relative = 'a.wav'")
    (finding,) = verify(out)
    assert (finding.output, finding.problem) == (str(out / "a.wav"), "left over")
    assert finding.detail == "the result of its recording is a.wav.flac now"


@pytest.mark.parametrize("is_whole_first", [True, False])
def test_what_is_done_anew_in_shards_or_whole_is_as_it_was_done_last(
    out: Path, finished: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, is_whole_first: bool
) -> None:
    """Runs refuse such a mix now; folders of an older version may hold one."""
    monkeypatch.setattr(engine, "refuse_other_shards", lambda *_: None)
    monkeypatch.setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])
    if not is_whole_first:
        (out / STATE_FOLDER / "shard-1-of-1").mkdir()
        (out / STATE_FOLDER / "manifest.sqlite").rename(out / STATE_FOLDER / "shard-1-of-1" / "manifest.sqlite")
    settings = replace(short_settings(bundle, steps=0), loudness=-30.0)
    before = (out / "a.wav").read_bytes()
    options = RunOptions(part="shard-1-of-1" if is_whole_first else "")
    enhance_all([finished.parent / "in"], out, bundle, settings, Resources(), None, options)
    assert (out / "a.wav").read_bytes() != before
    assert found(out) == []
    assert read_status(out).counts["done"] == len(list(reports_of(out))) == 2


def test_a_linked_folder_is_part_of_it(out: Path, tmp_path: Path) -> None:
    (out / "sub").rename(tmp_path / "disk")
    (out / "sub").symlink_to(tmp_path / "disk")
    assert list(verify(out, is_strict=True)) == []
    shutil.copy(sidecar_path(out / "a.wav"), sidecar_path(tmp_path / "disk" / "c.wav"))
    assert found(out) == [("c.wav", "not in the manifest")]


def test_links_that_lead_back_end(out: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name, target in (("up", out.parent), ("back", out / "sub"), ("self", out / "self")):
        (out / name).symlink_to(target)
    disk = tmp_path_factory.mktemp("disk")
    store(disk / "evil.wav", 0.1)
    (disk / "round").symlink_to(disk)
    (out / "disk").symlink_to(disk)
    strange = [(Path(found.output).relative_to(out).as_posix(), found.problem) for found in verify(out, is_strict=True)]
    assert strange == [
        ("back", "linked folder"),
        ("up", "linked folder"),
        ("disk/round", "linked folder"),
        ("disk/evil.wav", "not in the manifest"),
    ]


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
