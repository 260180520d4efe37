"""The picture of an evaluation: drawn for any measures, refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import image
from test_scores import scores

from exdiff_cli.errors import UsageError
from exdiff_cli.report.score_plot import draw_scores
from exdiff_cli.scores import Row, Scores, System


@pytest.mark.parametrize("name", ["scores.png", "scores.svg"])
def test_drawn_in_the_suffix_own_format(tmp_path: Path, name: str) -> None:
    draw_scores(scores(), tmp_path / name)
    if name.endswith("png"):
        picture = image.imread(tmp_path / name)
        assert picture.shape[0] > 300
        assert picture.std() > 0.01
    else:
        assert "<svg" in (tmp_path / name).read_text()


def test_several_numbers_of_steps_are_drawn_as_a_curve(tmp_path: Path) -> None:
    """A third row of panels, and only then."""
    rows = scores().rows
    systems = [System("noisy"), System("extract"), System("ex-diff", 1), System("ex-diff", 4)]
    given = [Row(row.pair, row.tags, system, row.measures) for system in systems for row in scores().of(rows[0].system)]
    for steps, row in ((systems[:3], "gone"), (systems, "there")):
        drawn = Scores([each for each in given if each.system in steps], steps, scores().measures)
        draw_scores(drawn, tmp_path / f"{row}.png")
    heights = [image.imread(tmp_path / f"{row}.png").shape[0] for row in ("gone", "there")]
    assert heights[1] == pytest.approx(1.5 * heights[0], rel=0.02)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    for target in (tmp_path / "gone" / "a.png", tmp_path / "a.docx"):
        with pytest.raises(UsageError, match="cannot be written"):
            draw_scores(scores(), target)
