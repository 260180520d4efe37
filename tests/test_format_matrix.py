"""docs/formats.md is what tests/format_matrix.py finds: made anew by `make soak`, and complete at any time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exdiff_cli.audio.formats import kept_formats

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "formats.md"


def test_the_page_names_every_format_that_is_kept() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in PAGE.read_text().splitlines() if "|" in line]
    kept = {(container, codec) for container, codec, stored in rows if stored == "itself"}
    assert kept == {(container, codec) for container, codecs in kept_formats().items() for codec in codecs}


def test_nothing_on_the_page_came_out_otherwise() -> None:
    assert "; 0 came out otherwise than they should." in PAGE.read_text()


@pytest.mark.soak
def test_the_page_is_what_comes_out(tmp_path: Path) -> None:
    subprocess.run([sys.executable, TESTS / "format_matrix.py", tmp_path / "formats.md"], check=True)
    assert (tmp_path / "formats.md").read_text() == PAGE.read_text()
