"""Two output folders side by side: paired by recording, with what their settings differ in."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from report_folders import OutputFolder, audio

from exdiff_cli.errors import UsageError
from exdiff_cli.report.compare import compare, comparison_csv, comparison_tables


@pytest.fixture
def both(tmp_path: Path) -> tuple[OutputFolder, OutputFolder]:
    first, second = OutputFolder(tmp_path, "first"), OutputFolder(tmp_path, "second")
    for number in range(6):
        first.done(f"{number}.wav", 2.0, 2.5 + number / 10)
        settings = {"bundle": "tiny", "sampler": {"steps": 4, "strength": 1.0}, "on_risk": "fallback"}
        second.done(f"{number}.wav", 2.0, 2.4 + number / 20, settings=settings)
    return first, second


def test_differences_are_paired(both: tuple[OutputFolder, OutputFolder]) -> None:
    first, second = both
    found = compare(first.path, second.path)
    assert [pair.recording for pair in found.pairs] == [f"{number}.wav" for number in range(6)]
    expected = [0.1 + number / 20 for number in range(6)]
    assert [pair.difference("ovrl") for pair in found.pairs] == pytest.approx(expected)
    mean = found.mean("ovrl")
    assert mean is not None
    assert mean.value == pytest.approx(0.225)
    assert 0.1 < mean.low < mean.value < mean.high < 0.35
    assert mean.count == 6
    turned = compare(second.path, first.path).mean("ovrl")
    assert turned is not None
    assert turned.value == pytest.approx(-0.225)


def test_only_settings_that_differ_are_told(both: tuple[OutputFolder, OutputFolder]) -> None:
    first, second = both
    assert compare(first.path, second.path).settings() == {"sampler.steps": (["2"], ["4"])}
    assert compare(first.path, first.path).settings() == {}


def test_what_has_no_partner_is_not_compared(both: tuple[OutputFolder, OutputFolder]) -> None:
    first, second = both
    first.done("mine.wav")
    second.done("yours.wav")
    second.failed("yours too.wav")
    first.done("changed.wav", 2.0, 2.5)
    second.done("changed.wav", 2.0, 4.5, input=audio(Path("another recording")))
    found = compare(first.path, second.path)
    assert (len(found.pairs), found.only_first, found.only_second, found.other_originals) == (6, 1, 1, 1)
    assert len(list(found.remarks())) == 3


def test_recordings_without_a_score_count_for_no_mean(both: tuple[OutputFolder, OutputFolder]) -> None:
    first, second = both
    first.done("silence.wav", None, None)
    second.done("silence.wav", None, None)
    found = compare(first.path, second.path)
    mean = found.mean("ovrl")
    assert mean is not None
    assert (len(found.pairs), mean.count) == (7, 6)
    assert len(list(comparison_tables(found))) == 3


def test_nothing_in_common_is_a_usage_error(tmp_path: Path) -> None:
    first, second = OutputFolder(tmp_path, "first"), OutputFolder(tmp_path, "second")
    first.done("a.wav")
    second.done("b.wav")
    with pytest.raises(UsageError, match="no recording is done in both"):
        compare(first.path, second.path)


def test_the_table_is_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    first, second = OutputFolder(tmp_path, "first"), OutputFolder(tmp_path, "second")
    for folder, after in ((first, 2.25), (second, 2.5)):
        folder.done("=1+1.wav", 2.0, after)
    lines = comparison_csv(compare(first.path, second.path))
    (row,) = csv.DictReader(line.lstrip("\ufeff") for line in lines)
    assert row["recording"] == "'=1+1.wav"
    assert (row["ovrl_first"], row["ovrl_second"], row["ovrl_difference"]) == ("2.25", "2.5", "-0.25")
