"""The run report: every recording is in the table, totals add up, the page stays bounded, and nobody's file is lost."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from recordings import DATA
from report_folders import OutputFolder, measures, report_of, row_of

from exdiff_cli.commands.report import report_run
from exdiff_cli.engine import RunResult
from exdiff_cli.errors import RecordingError, UsageError
from exdiff_cli.manifest import Manifest, State
from exdiff_cli.publish import write_text
from exdiff_cli.report.pictures import FOLDER
from exdiff_cli.report.rows import MEASURES, ReportRow, covered_seconds, read_rows
from exdiff_cli.report.run_csv import BEGINNING, COLUMNS, csv_lines
from exdiff_cli.report.run_page import MOST_FAILURES, Kept, Place, page_data
from exdiff_cli.report.run_plots import gain_plot, scatter_plot
from exdiff_cli.report.run_report import (
    ReportOptions,
    is_reported,
    refuse_others_files,
    write_report,
)
from exdiff_cli.report.sidecar import GuardMark


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder(tmp_path)


def table(folder: OutputFolder) -> list[dict[str, str]]:
    with (folder.path / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def mark(start: float, end: float, **changes: Any) -> GuardMark:
    fields: dict[str, Any] = {"start_s": start, "end_s": end, "channels": (0,), "reason": "louder", "decibels": 8.0}
    return GuardMark(**fields | changes)


# --- totals and table ---------------------------------------------------------------------------------------


def test_totals_add_up(folder: OutputFolder) -> None:
    folder.done("a.wav", 2.0, 2.6, duration=1800.0)
    folder.done("b.wav", 3.0, 2.8, duration=1800.0, guard=(mark(1, 3), mark(2, 5)))
    folder.done("silence.wav", None, None, duration=3600.0)
    folder.failed("c.wav")
    folder.waiting("d.wav")
    run = write_report(folder.path, ReportOptions(price_per_hour=3600.0))
    assert run == json.loads((folder.path / "run.json").read_text())
    assert run["recordings"] == {"total": 5, "done": 3, "failed": 1, "pending": 1, "running": 0, "skipped": 0}
    assert run["audio_hours"] == 2.0
    assert run["seconds"] == {"diffuse": 6.0, "extract": 3.0, "score": 1.5}
    assert run["cost"] == pytest.approx(10.5)
    assert run["guard"] == {"recordings": 1, "marks": 2, "seconds": 4.0}
    assert run["ovrl_fell"] == 1
    ovrl = run["scores"]["ovrl"]  # type: ignore[index]
    assert (ovrl["before"], ovrl["after"]) == (2.5, pytest.approx(2.7))
    gain = ovrl["estimated_gain"]
    assert gain["count"] == 2
    assert gain["low"] == pytest.approx(-0.2)
    assert gain["value"] == pytest.approx(0.2)
    assert gain["high"] == pytest.approx(0.6)
    assert [(each["recording"], round(each["gain"], 3)) for each in run["worst"]] == [  # type: ignore[attr-defined]
        ("b.wav", -0.2),
        ("a.wav", 0.6),
    ]


def test_without_a_price_there_is_no_cost(folder: OutputFolder) -> None:
    folder.done("a.wav")
    assert write_report(folder.path)["cost"] is None


def test_the_table_holds_every_recording_whatever_its_state(folder: OutputFolder) -> None:
    folder.done("b/2.wav", 2.0, 2.5)
    folder.failed("a/1.wav", "a/1.wav: is empty; record it again")
    folder.waiting("c.wav")
    write_report(folder.path)
    rows = table(folder)
    assert [(row["recording"], row["state"]) for row in rows] == [
        ("a/1.wav", "failed"),
        ("b/2.wav", "done"),
        ("c.wav", "pending"),
    ]
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["error"] == "a/1.wav: is empty; record it again"
    assert rows[1]["ovrl_gain"] == "0.5"
    assert rows[1]["noise_floor_dbfs_after"] == "-70.1"
    assert rows[1]["original"] == str(folder.originals / "b/2.wav")
    assert rows[1]["result"] == "b/2.wav"


def test_what_a_result_is_taken_from_and_why_to_listen_are_told(folder: OutputFolder) -> None:
    listen = ("rated 0.25 below the recording by DNSMOS: listen to both", "=1+1")
    folder.done("a.wav", 2.0, 1.75, taken_from="diffuse", flags=listen)
    folder.done("b.wav", 2.0, 2.5, taken_from="extract")
    folder.done("c.wav", 2.0, 2.0, taken_from="original", flags=listen[1:])
    folder.done("d.wav", 2.0, 2.6, taken_from="diffuse")
    folder.done("old.wav", 2.0, 2.6)
    folder.failed("lost.wav")
    run = write_report(folder.path, ReportOptions(pictures=0))
    assert run["flagged"] == 2
    assert run["taken_from"] == {"diffuse": 2, "extract": 1, "original": 1, "unknown": 1}
    found = {row["recording"]: (row["taken_from"], row["flags"]) for row in table(folder)}
    assert found == {
        "a.wav": ("diffuse", f"{listen[0]}; =1+1"),
        "b.wav": ("extract", ""),
        "c.wav": ("original", "'=1+1"),
        "d.wav": ("diffuse", ""),
        "old.wav": ("", ""),
        "lost.wav": ("", ""),
    }
    data = data_of(folder.path / "report.html")
    rows = {row["name"]: row for row in data["rows"]}
    assert [data["texts"][place] for place in rows["a.wav"]["flags"]] == list(listen)
    assert {name: row.get("taken") for name, row in rows.items()} == {
        name: taken or None for name, (taken, _) in found.items()
    }


def test_columns_do_not_move() -> None:
    """Programs may count them: new ones go to the end."""
    assert ",".join(COLUMNS) == (
        "recording,state,error,original,result,ovrl_gain,guard_seconds,ovrl_before,ovrl_after,sig_before,sig_after,"
        "bak_before,bak_after,loudness_lufs_before,loudness_lufs_after,noise_floor_dbfs_before,noise_floor_dbfs_after,"
        "peak_dbfs_before,peak_dbfs_after,true_peak_dbfs_before,true_peak_dbfs_after,snr_db_before,snr_db_after,"
        "bandwidth_hz_before,bandwidth_hz_after,speech_share_before,speech_share_after,clipped_share_before,"
        "clipped_share_after,uncertainty_db,seconds,sample_rate,channels,format,result_sample_rate,result_format,"
        "work_seconds,guard_marks,changes,settings_key,weights_sha256,original_sha256,result_sha256,taken_from,flags"
    )


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0.wav", "+1.wav", "-2.wav", "@SUM(A1).wav"])
def test_no_name_is_run_by_a_spreadsheet(folder: OutputFolder, name: str) -> None:
    folder.failed(name, f"{name}: is empty")
    folder.done(f"{name}.flac")
    write_report(folder.path)
    for row in table(folder):
        for cell in (row["recording"], row["error"], row["result"]):
            assert not cell.startswith(("=", "+", "-", "@"))
            assert not cell or cell.startswith("'")


def test_a_gain_below_zero_stays_a_number(folder: OutputFolder) -> None:
    folder.done("a.wav", 2.5, 2.25)
    write_report(folder.path)
    assert table(folder)[0]["ovrl_gain"] == "-0.25"


def test_names_of_any_bytes_are_one_line_of_the_table_and_links_of_the_page(folder: OutputFolder) -> None:
    names = ['</script><b x="', "two\nlines, and 'a comma'.wav", os.fsdecode(b"caf\xe9.wav"), "ü 100% #1?.wav"]
    for name in names:
        folder.done(name)
    write_report(folder.path, ReportOptions(pictures=0))
    assert len(table(folder)) == len(names)
    page = (folder.path / "report.html").read_text("utf-8")
    assert page.count("</script>") == 2
    assert "<b x=" not in page
    links = {row["name"]: row["result"] for row in data_of(folder.path / "report.html")["rows"]}
    assert links == {
        '</script><b x="': "%3C/script%3E%3Cb%20x%3D%22",
        "two\\nlines, and 'a comma'.wav": "two%0Alines%2C%20and%20%27a%20comma%27.wav",
        "caf\\xe9.wav": "caf%E9.wav",
        "ü 100% #1?.wav": "%C3%BC%20100%25%20%231%3F.wav",
    }


def test_a_report_that_is_gone_or_broken_is_told(folder: OutputFolder) -> None:
    folder.done("a.wav").unlink()
    folder.done("b.wav").write_text("{")
    folder.done("c.wav")
    run = write_report(folder.path)
    assert run["without_report"] == 2
    assert [bool(row["error"]) for row in table(folder)] == [True, True, False]
    first, second, third = data_of(folder.path / "report.html")["rows"]
    assert "cannot be read" in first["error"]
    assert "is not JSON" in second["error"]
    assert "error" not in third


def test_measures_that_older_reports_lack_show_where_they_are(folder: OutputFolder) -> None:
    made = report_of(Path("a.wav"), folder.path / "a.wav", 2.0, 2.5)
    before, after = (measures(2.0).model_copy(update={"snr_db": snr}) for snr in (4.5, 21.0))
    full = made.model_copy(update={"before": before, "after": after, "uncertainty_db": 1.25})
    row = ReportRow(Path("a.wav"), Path("a.wav"), State.DONE, "", Path("a.wav"), full)
    header, line = csv_lines([row])
    cells = dict(zip(header.lstrip("\ufeff").strip().split(","), next(csv.reader([line])), strict=True))
    assert (cells["snr_db_before"], cells["snr_db_after"], cells["uncertainty_db"]) == ("4.5", "21", "1.25")
    data: dict[str, Any] = page_data(Place(folder.path, frozenset()), [row])
    (entry,) = data["rows"]
    place = [measure.name for measure in MEASURES].index("snr_db")
    assert (entry["before"][place], entry["after"][place], entry["uncertainty"]) == (4.5, 21.0, 1.25)


def test_guard_seconds_of_two_channels_count_once() -> None:
    marks = [mark(4, 6, channels=(1,)), mark(0, 1), mark(5, 5.5), mark(5.5, 7)]
    assert covered_seconds(marks) == pytest.approx(4.0)
    assert covered_seconds([]) == 0.0


def test_shards_are_one_table_and_what_is_in_two_counts_once(tmp_path: Path) -> None:
    whole = OutputFolder(tmp_path)
    whole.failed("b.wav")
    whole.done("d.wav")
    parts = [OutputFolder(tmp_path, part=f"shard-{number}-of-2") for number in (1, 2)]
    parts[0].done("c.wav")
    parts[1].done("a.wav")
    parts[1].add([row_of(Path("b.wav"), whole.originals / "b.wav", updated_at="9999", output=Path("b.wav"))])
    rows = list(read_rows(tmp_path / "out"))
    assert [(str(row.recording), row.state.value) for row in rows] == [(f"{name}.wav", "done") for name in "abcd"]


def test_names_that_are_no_text_come_last_in_every_part(tmp_path: Path) -> None:
    names = ["z.wav", os.fsdecode(b"a\xff.wav"), "ü.wav"]
    for number, name in enumerate(names):
        OutputFolder(tmp_path, part=f"shard-{number}-of-3").waiting(name)
    OutputFolder(tmp_path, part="shard-0-of-3").waiting(names[1])
    assert [str(row.recording) for row in read_rows(tmp_path / "out")] == ["z.wav", "ü.wav", names[1]]


def test_without_a_manifest_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no manifest"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


# --- the page -----------------------------------------------------------------------------------------------


def scored(name: str, gain: float | None) -> ReportRow:
    before = None if gain is None else 2.0
    report = report_of(Path(name), Path(name), before, None if gain is None else 2.0 + gain)
    return ReportRow(Path(name), Path(name), State.DONE, "", Path(name), report)


def test_of_many_the_page_keeps_those_that_gained_least_and_failures() -> None:
    kept = Kept(most=10)
    for number in range(100):
        kept.add(scored(f"{number}", ((number * 37) % 100) / 100))
        kept.add(ReportRow(Path("x"), Path("x"), State.PENDING))
    kept.add(scored("silent", None))
    for number in range(3):
        kept.add(ReportRow(Path(f"lost {number}"), Path("x"), State.FAILED, "is empty"))
    rows = kept.rows()
    assert [round(row.gain or 0, 2) for row in rows[:7]] == [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    assert [str(row.recording) for row in rows[7:]] == ["lost 0", "lost 1", "lost 2"]
    assert kept.given == 104


def test_of_many_the_page_keeps_those_that_are_flagged() -> None:
    kept = Kept(most=10)
    for number in range(100):
        row = scored(f"{number}", number / 100)
        assert row.report is not None
        flags = ("listen",) if number % 40 == 25 else ()
        kept.add(replace(row, report=row.report.model_copy(update={"flags": flags})))
    kept.add(ReportRow(Path("lost"), Path("x"), State.FAILED, "is empty"))
    assert [str(row.recording) for row in kept.rows()] == [*"0123456", "25", "65", "lost"]


def test_failures_do_not_crowd_out_all_else() -> None:
    kept = Kept()
    for number in range(MOST_FAILURES + 5):
        kept.add(ReportRow(Path(f"{number}"), Path("x"), State.FAILED, "is empty"))
    kept.add(scored("a", 0.1))
    assert len(kept.rows()) == MOST_FAILURES + 1


def test_a_page_that_does_not_list_all_says_so(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exdiff_cli.report.run_report.Kept", lambda: Kept(most=4))
    folder.fill(12, failed=1)
    run = write_report(folder.path, ReportOptions(pictures=0))
    page = (folder.path / "report.html").read_text("utf-8")
    assert "This page lists 4 of 13 recordings" in page
    assert (run["listed"], len(data_of(folder.path / "report.html")["rows"]), len(table(folder))) == (4, 4, 13)
    assert run["scores"]["ovrl"]["estimated_gain"]["count"] == 12  # type: ignore[index]


def test_the_page_needs_nothing_from_elsewhere(folder: OutputFolder) -> None:
    folder.fill(3)
    write_report(folder.path, ReportOptions(pictures=0))
    page = (folder.path / "report.html").read_text("utf-8")
    assert not re.findall(r"https?:|@import|url\(|<link|src=\"(?!report-files)", page)


def test_texts_that_many_share_stand_once(folder: OutputFolder) -> None:
    folder.fill(20)
    write_report(folder.path, ReportOptions(pictures=0))
    page = folder.path / "report.html"
    assert page.read_text("utf-8").count("enhanced sound is partly generated") == 1
    assert len(data_of(page)["settings"]) == 1


def test_plots_tell_what_fell_from_what_rose() -> None:
    assert scatter_plot([], []) == gain_plot([]) == ""
    plot = scatter_plot([2.0, 2.0, 2.0], [1.5, 3.0, 3.0])
    dots = dict(re.findall(r'class="dots (\w+)" stroke-width="\d+" d="([^"]*)"', plot))
    assert (dots["fell"].count("M"), dots["rose"].count("M")) == (1, 1)
    bars = re.findall(r'class="bar (\w+)".*?<title>(\d+)</title>', gain_plot([-0.05, 0.02, 0.04, 0.3, 0.31]))
    assert bars == [("fell", "1"), ("rose", "2"), ("rose", "2")]


@pytest.mark.parametrize("gains", [[0.0], [-3.9, 3.9], [1e-9, -1e-9], [0.25] * 4000])
def test_plots_of_odd_distributions_can_be_drawn(gains: list[float]) -> None:
    counted = re.findall(r"<title>(\d+)</title>", gain_plot(gains))
    assert sum(map(int, counted)) == len(gains)
    assert "nan" not in scatter_plot([2.0] * len(gains), [2.0 + gain for gain in gains])


# --- pictures -----------------------------------------------------------------------------------------------


@pytest.fixture
def heard(folder: OutputFolder) -> OutputFolder:
    """Four results with sound, as copies of the same two recordings."""
    folder.originals.mkdir()
    for number in range(4):
        folder.done(f"{number}.wav", 2.0, 2.0 + number / 10, duration=2.16)
        shutil.copy(DATA / "noisy.wav", folder.originals / f"{number}.wav")
        shutil.copy(DATA / "clean.wav", folder.path / f"{number}.wav")
    return folder


def pictures(folder: OutputFolder) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (folder.path / FOLDER).glob("*")}


def test_the_worst_have_pictures_and_all_on_demand(heard: OutputFolder) -> None:
    assert write_report(heard.path, ReportOptions(pictures=2))["pictures"] == 2
    shown = {row["name"]: row["picture"] for row in data_of(heard.path / "report.html")["rows"]}
    assert [name for name, picture in shown.items() if picture] == ["0.wav", "1.wav"]
    assert {picture for picture in shown.values() if picture} == set(pictures(heard))
    assert write_report(heard.path, ReportOptions(pictures=None))["pictures"] == 4


def test_pictures_are_drawn_once_and_go_with_their_results(heard: OutputFolder) -> None:
    write_report(heard.path, ReportOptions(pictures=None))
    first = pictures(heard)
    write_report(heard.path)
    assert pictures(heard) == first
    other = heard.path / FOLDER / "mine.png"
    other.write_text("not ours")
    report = report_of(heard.originals / "9.wav", heard.path / "0.wav", 2.0, 2.5)
    (heard.path / "0.wav.quality.json").write_text(json.dumps(report.model_dump(mode="json")))
    write_report(heard.path, ReportOptions(pictures=0))
    assert len(first.keys() - pictures(heard).keys()) == 1
    assert other.exists()


def test_no_time_no_pictures_but_a_report(heard: OutputFolder) -> None:
    assert write_report(heard.path, ReportOptions(picture_seconds=0.0))["pictures"] == 0
    assert write_report(heard.path, ReportOptions(picture_seconds=10.0))["pictures"] == 4


def test_a_report_is_made_anew_once_it_is_old(folder: OutputFolder) -> None:
    """Of a run that was killed before its report: the next one does nothing, and makes it all the same."""
    folder.done("a.wav")
    report_run(RunResult(folder.path, done_count=1))
    made = (folder.path / "report.html").stat().st_ino
    report_run(RunResult(folder.path, skipped=1))
    assert (folder.path / "report.html").stat().st_ino == made
    assert is_reported(folder.path)
    folder.add([row_of(Path("b.wav"), folder.originals / "b.wav", State.FAILED, error="lost", updated_at="2001")])
    assert not is_reported(folder.path)  # by the count
    write_report(folder.path)
    with Manifest.open(folder.path) as manifest:
        time.sleep(0.002)
        manifest.fail(Path("b.wav"), folder.originals / "b.wav", "is empty")
    assert not is_reported(folder.path)  # by the time
    report_run(RunResult(folder.path, skipped=1))
    assert is_reported(folder.path)
    assert [row["error"] for row in table(folder)] == ["", "is empty"]


def test_a_report_is_old_once_any_shard_goes_on(tmp_path: Path) -> None:
    for number in (1, 2):
        OutputFolder(tmp_path, part=f"shard-{number}-of-2").done(f"{number}.wav")
    run = write_report(tmp_path / "out")
    assert run["manifest"]["rows"] == 2  # type: ignore[index]
    assert is_reported(tmp_path / "out")
    OutputFolder(tmp_path, part="shard-1-of-2").waiting("3.wav")
    assert not is_reported(tmp_path / "out")


@pytest.mark.parametrize("text", ["{}", '{"generator": "exdiff 0.1.0"}', '{"generator": "exdiff 0.1.0'])
def test_figures_that_do_not_tell_what_they_are_of_are_made_anew(folder: OutputFolder, text: str) -> None:
    folder.done("a.wav")
    write_report(folder.path)
    (folder.path / "run.json").write_text(text)
    assert not is_reported(folder.path)


@pytest.mark.parametrize("failing", ["report.csv", "report.html", "run.json"])
def test_a_report_that_fails_leaves_the_one_before(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    folder.done("a.wav")
    write_report(folder.path)
    before = {name: (folder.path / name).read_bytes() for name in ("report.csv", "report.html", "run.json")}
    folder.done("b.wav")

    def write(target: Path, temporary: Path, text: Any) -> None:
        if target.name == failing:
            raise ValueError("a fault of ours")
        write_text(target, temporary, text)

    monkeypatch.setattr("exdiff_cli.report.run_report.write_text", write)
    with pytest.raises(ValueError, match="a fault of ours"):
        write_report(folder.path)
    assert {name: (folder.path / name).read_bytes() for name in before} == before
    assert not list(folder.path.glob(".exdiff-*"))


def test_after_a_signal_nobody_waits_for_a_report(folder: OutputFolder) -> None:
    folder.done("a.wav")
    report_run(RunResult(folder.path, done_count=1, left=1, stopped_by=Signals.SIGTERM))
    assert not (folder.path / "report.html").exists()
    result = RunResult(folder.path, done_count=1, stopped_by=Signals.SIGTERM)
    report_run(result)
    assert result.report == folder.path / "report.html"
    assert result.report.exists()


# --- whose files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("report.html", "<html><title>mine</title></html>"),
        ("report.csv", "recording,state\na,b\n"),
        ("run.json", '{"generator": "mine"}'),
        ("run.json", ""),
    ],
)
def test_nobody_elses_file_is_overwritten(folder: OutputFolder, name: str, text: str) -> None:
    folder.done("a.wav")
    (folder.path / name).write_text(text)
    with pytest.raises(RecordingError, match="exdiff did not make it") as caught:
        write_report(folder.path)
    assert "\n" not in str(caught.value)
    assert (folder.path / name).read_text() == text
    assert not is_reported(folder.path)
    assert sum((folder.path / other).exists() for other in ("report.html", "report.csv", "run.json")) == 1


def test_a_folder_or_a_dangling_link_of_that_name_stays_too(folder: OutputFolder) -> None:
    folder.done("a.wav")
    (folder.path / "report.csv").symlink_to("gone")
    with pytest.raises(RecordingError, match=r"report\.csv"):
        write_report(folder.path)
    (folder.path / "report.html").mkdir()
    with pytest.raises(RecordingError, match=r"report\.html"):
        write_report(folder.path)


def test_ours_are_replaced_also_those_of_another_version(folder: OutputFolder) -> None:
    folder.done("a.wav")
    write_report(folder.path)
    assert is_reported(folder.path)
    for name in ("report.html", "run.json"):
        path = folder.path / name
        path.write_text(path.read_text("utf-8").replace("exdiff 0.1.0", "exdiff 7.0"), "utf-8")
    (folder.path / "report.csv").write_text(BEGINNING + "one_more\n")
    refuse_others_files(folder.path)
    folder.done("b.wav")
    write_report(folder.path)
    assert len(table(folder)) == 2


def test_what_cannot_be_written_is_one_line(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.done("a.wav")
    monkeypatch.setattr("exdiff_cli.publish.os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(RecordingError, match="No space left"):
        write_report(folder.path)
    assert not list(folder.path.glob(".exdiff-*"))
