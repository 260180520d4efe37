"""What listeners answered: against binomials by hand, screening by the recommendation, and files that are no good."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path

import pytest
from listening_tests import a_key, a_result, output_folder
from typer.testing import CliRunner

from exdiff_cli.cli import app
from exdiff_cli.errors import DataError
from exdiff_cli.listening.key import Kind
from exdiff_cli.listening.mushra import mean_of, score_ratings
from exdiff_cli.listening.preference import Tally, score_preferences
from exdiff_cli.listening.results import read_results
from exdiff_cli.listening.tables import score_json

A, B = ("enhanced", "original"), ("original", "enhanced")
SYSTEMS = ("reference", "enhanced", "original", "anchor")


# --- preferences --------------------------------------------------------------------------------------------


def test_p_is_the_sum_of_the_tails() -> None:
    tails = 2 * sum(comb(20, k) for k in range(15, 21)) / 2**20
    assert Tally(15, 5, 7).p_value == pytest.approx(tails)
    assert tails == pytest.approx(0.0414, abs=1e-4)
    assert Tally(5, 5, 0).p_value == 1
    assert Tally(6, 0, 1).p_value == pytest.approx(2 / 2**6)


def test_the_interval_ends_where_the_tails_are_small() -> None:
    """Clopper and Pearson: at either end what was counted, or more, has 2.5 %."""
    low, high = Tally(15, 5, 3).interval or (0, 0)
    assert sum(comb(20, k) * low**k * (1 - low) ** (20 - k) for k in range(15, 21)) == pytest.approx(0.025)
    assert sum(comb(20, k) * high**k * (1 - high) ** (20 - k) for k in range(16)) == pytest.approx(0.025)
    low, high = Tally(10, 0, 0).interval or (0, 0)
    assert low == pytest.approx(0.025 ** (1 / 10))
    assert high == 1


def test_ties_alone_have_no_share() -> None:
    tally = Tally(0, 0, 4)
    assert (tally.share, tally.interval, tally.p_value) == (None, None, None)


def test_sides_are_undone_by_the_key(tmp_path: Path) -> None:
    a_key(tmp_path, [A, B, A, B, B, A])
    first = a_result(tmp_path / "anna.json", ["a", "b", "b", "none", "b", "a"])
    second = a_result(tmp_path / "bert.json", ["a", "a", "a", "a", "a", "none"], "bert")
    found = score_preferences(*read_results([first, second], None))
    assert found.by_listener == {"anna": Tally(4, 1, 1), "bert": Tally(2, 3, 1)}
    assert found.total == Tally(6, 4, 2)
    assert found.by_recording == {"0.wav": Tally(3, 1, 0), "1.wav": Tally(1, 2, 1), "2.wav": Tally(2, 1, 1)}


# --- ratings ------------------------------------------------------------------------------------------------


def ratings(low: int, trials: int = 20, enhanced: int = 70) -> list[list[int]]:
    """Ratings of so many trials, in so many of which the hidden reference is taken for a worse one."""
    return [[89 if number < low else 100, enhanced, 40, 10] for number in range(trials)]


def test_who_does_not_hear_the_reference_does_not_count(tmp_path: Path) -> None:
    a_key(tmp_path, [SYSTEMS] * 20, Kind.MUSHRA)
    files = [a_result(tmp_path / f"{low}.json", ratings(low, enhanced=60 + low), str(low)) for low in (0, 3, 4)]
    found = score_ratings(*read_results(files, None))
    assert found.listeners == ("0", "3")  # 3 of 20 are 15 %, which is not more than 15 %
    assert found.left_out == {"4": 0.2}
    mean = found.mean("enhanced")
    assert (mean.value, mean.count) == (61.5, 40)
    assert found.mean("reference").value == pytest.approx((37 * 100 + 3 * 89) / 40)
    assert found.mean("anchor", "0.wav").value == 10
    with pytest.raises(DataError, match=r"no listener counts: 4 rated"):
        score_ratings(*read_results(files[2:], None))


def test_the_interval_of_a_mean_is_students() -> None:
    mean = mean_of([60, 70, 80, 90])
    half = 3.18245 * 12.9099 / 2  # t at 97.5 % with 3 degrees of freedom, standard deviation, root of 4
    assert mean.value == 75
    assert mean.low == pytest.approx(75 - half, abs=1e-3)
    assert mean.high == pytest.approx(75 + half, abs=1e-3)
    assert mean_of([50]).low is None


# --- files that are no good ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": "other"}, "answers another test"),
        ({"answers": [{"trial": "0", "answer": "a"}]}, "answers 1 of 3"),
        ({"answers": [{"trial": str(n), "answer": None} for n in range(3)]}, "answers 0 of 3"),
        ({"answers": [{"trial": "9", "answer": "a"}]}, "does not ask for"),
        ({"answers": [{"trial": "0", "answer": "c"}]}, "is not the result of a listening test"),
        ({"message_type": "summary"}, "is not the result of a listening test"),
        ({"version": 2}, "is not the result of a listening test"),
    ],
)
def test_bad_results_get_one_line(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    a_key(tmp_path, [A, B, A])
    path = a_result(tmp_path / "anna.json", ["a", "b", "none"], "anna", **changes)
    with pytest.raises(DataError, match=f"^{path}: .*{words}") as found:
        read_results([path], tmp_path / "page.html.key.json")
    assert "\n" not in str(found.value)


def test_ratings_out_of_range_or_missing_are_refused(tmp_path: Path) -> None:
    a_key(tmp_path, [SYSTEMS] * 2, Kind.MUSHRA)
    for bad in ([[100, 50, 50, 101], [1] * 4], [[100, 50, 50], [1] * 4], [[100, 50, None, 3], [1] * 4]):
        with pytest.raises(DataError):
            read_results([a_result(tmp_path / "anna.json", bad)], None)


def test_the_key_is_found_or_named(tmp_path: Path) -> None:
    key = a_key(tmp_path / "made", [A, B])
    (tmp_path / "made" / "a.key.json").write_text("{}")
    beside, elsewhere = (a_result(tmp_path / f"{place}anna.json", ["a", "b"]) for place in ("made/", ""))
    assert read_results([beside], None)[0] == key
    with pytest.raises(DataError, match=r"name the page.s .* with --key"):
        read_results([elsewhere], None)
    assert read_results([elsewhere], tmp_path / "made/page.html.key.json")[0] == key
    with pytest.raises(DataError, match="same listener"):
        read_results([beside, elsewhere], None)
    with pytest.raises(DataError, match="is not the result"):
        read_results([tmp_path / "made/page.html.key.json"], None)
    with pytest.raises(DataError, match="cannot be read"):
        read_results([tmp_path / "gone.json"], None)


# --- the command --------------------------------------------------------------------------------------------


def test_scores_as_a_table_and_as_json(tmp_path: Path) -> None:
    key = a_key(tmp_path, [A] * 6)
    answers = [{"trial": str(n), "answer": "a", "comment": "[red]\x1b dull" if n == 2 else ""} for n in range(6)]
    path = a_result(tmp_path / "anna.json", ["a"] * 6, answers=answers)
    shown = CliRunner().invoke(app, ["abtest", "--score", str(path)])
    assert shown.exit_code == 0
    for words in ("100%", "54% to 100%", "0.0312", "not independent", r"[red]\x1b dull"):
        assert words in shown.stdout, words
    told = json.loads(CliRunner().invoke(app, ["abtest", str(path), "--score", "--json"]).stdout)
    assert told == json.loads(json.dumps(score_json(*read_results([path], None))))
    assert (told["message_type"], told["test"], told["total"]["first"]) == ("listening", key.test, 6)
    assert told["comments"] == [
        {"listener": "anna", "recording": "1.wav", "order": "A enhanced, B original", "comment": "[red]\x1b dull"}
    ]


def test_ratings_as_a_table_name_who_is_left_out(tmp_path: Path) -> None:
    a_key(tmp_path, [SYSTEMS] * 4, Kind.MUSHRA)
    files = [a_result(tmp_path / f"{low}.json", ratings(low, 4), f"listener {low}") for low in (0, 1)]
    shown = CliRunner().invoke(app, ["abtest", "--score", *map(str, files)])
    assert shown.exit_code == 0
    assert "left out: listener 1" in " ".join(shown.stdout.split())
    told = json.loads(CliRunner().invoke(app, ["abtest", "--score", *map(str, files), "--json"]).stdout)
    assert told["left_out"] == [{"listener": "listener 1", "low_references": 0.25}]
    assert {each["system"]: each["value"] for each in told["systems"]}["anchor"] == 10


def test_the_page_is_written_beside_its_key(tmp_path: Path) -> None:
    out = output_folder(tmp_path)
    called = CliRunner().invoke(app, ["abtest", str(out), "--pairs", "2", "--seconds", "2", "--json"])
    told = json.loads(called.stdout)
    page = tmp_path / "out-abtest.html"
    assert (told["page"], told["key"]) == (str(page), f"{page}.key.json")
    assert (told["excerpts"], told["recordings"]) == (2, 2)
    assert page.read_text().startswith("<!doctype html>")
    for arguments in ([str(out)], [str(tmp_path)], [str(out), str(out)]):
        assert CliRunner().invoke(app, ["abtest", *arguments]).exit_code != 0
