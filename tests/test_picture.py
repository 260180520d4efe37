"""Pictures: whatever the names and lengths, one file of plausible size; what cannot be drawn is one line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib import pyplot as plt
from recordings import DATA, store

from exdiff_cli.errors import RecordingError, UsageError
from exdiff_cli.report.picture import draw_before_after


def size_of(png: Path) -> tuple[int, int]:
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(content) > 20_000
    return struct.unpack(">II", content[16:24])


def test_a_png(tmp_path: Path) -> None:
    draw_before_after(DATA / "noisy.wav", DATA / "clean.wav", tmp_path / "a.png")
    assert size_of(tmp_path / "a.png") == (1100, 550)
    assert not plt.get_fignums()


def test_an_svg(tmp_path: Path) -> None:
    draw_before_after(DATA / "noisy.wav", DATA / "clean.wav", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "<svg" in text


def test_different_sounds_give_different_pictures(tmp_path: Path) -> None:
    draw_before_after(DATA / "noisy.wav", DATA / "clean.wav", tmp_path / "a.png")
    draw_before_after(DATA / "noisy.wav", DATA / "noisy.wav", tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_names_that_mean_something_to_the_drawing_library(tmp_path: Path) -> None:
    before = store(tmp_path / r"$\oops{$ [red] a_b^c.wav", 1.0, rate=44_100, channels=2)
    after = tmp_path / "one sample\nonly.wav"
    soundfile.write(after, np.ones(1), 8_000)
    draw_before_after(before, after, tmp_path / "a.png")
    assert size_of(tmp_path / "a.png") == (1100, 550)


@pytest.mark.parametrize("target", ["a.xyz", "absent/a.png"])
def test_a_target_that_cannot_be_written_is_a_usage_error(tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="cannot be written") as caught:
        draw_before_after(DATA / "noisy.wav", DATA / "clean.wav", tmp_path / target)
    assert "\n" not in str(caught.value)
    assert not plt.get_fignums()


def test_a_recording_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="does not exist"):
        draw_before_after(DATA / "noisy.wav", tmp_path / "gone.wav", tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
