"""What is published takes the place of files alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from exdiff_cli.errors import OutputError
from exdiff_cli.publish import publish_text


def test_a_file_is_replaced_and_nothing_else_lies_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        publish_text(path, text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe"])
def test_what_is_no_file_stays_what_it_is(tmp_path: Path, kind: str) -> None:
    """As root one could otherwise put a file in the place of /dev/null."""
    path = tmp_path / "there"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    named = path
    if kind.startswith("link"):
        named = tmp_path / "link"
        named.symlink_to(path)
    before = path.stat().st_mode
    with pytest.raises(OutputError, match="is no regular file, and would be replaced by one; name a file"):
        publish_text(named, "text")
    assert path.stat().st_mode == before
    assert not stat.S_ISREG(before)
    assert named.is_symlink() == kind.startswith("link")
