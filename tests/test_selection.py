"""Selection: by patterns, by age, and shards that are disjoint, complete and stable."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from exdiff_cli.errors import UsageError
from exdiff_cli.jobs import Job, Jobs
from exdiff_cli.selection import Selection, Shard, parse_newer_than, parse_shard


def jobs(*names: str) -> Jobs:
    return Jobs(Job(Path("in") / name, Path(name)) for name in names)


def kept(selection: Selection, *names: str) -> list[str]:
    return [job.relative.as_posix() for job in selection.of(jobs(*names))]


NAMES = ("a.wav", "b.flac", "night/a.wav", "night/old/c.wav", "x[1].wav")


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), NAMES),
        (Selection(include=("*.wav",)), ("a.wav", "night/a.wav", "night/old/c.wav", "x[1].wav")),
        (Selection(include=("night/*",)), ("night/a.wav", "night/old/c.wav")),
        (Selection(include=("a.*",)), ("a.wav", "night/a.wav")),
        (Selection(include=("a.wav", "*.flac")), ("a.wav", "b.flac", "night/a.wav")),
        (Selection(exclude=("*/old/*", "b.*")), ("a.wav", "night/a.wav", "x[1].wav")),
        (Selection(include=("*.wav",), exclude=("night/*",)), ("a.wav", "x[1].wav")),
        (Selection(include=("x[[]1].wav",)), ("x[1].wav",)),
        (Selection(include=("*.WAV",)), ()),
    ],
)
def test_patterns(selection: Selection, expected: tuple[str, ...]) -> None:
    assert kept(selection, *NAMES) == list(expected)


def test_newer_ones_only_and_what_cannot_be_looked_at(tmp_path: Path) -> None:
    for name, modified in (("old.wav", 1000), ("new.wav", 3000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (modified, modified))
    found = Jobs(Job(tmp_path / name, Path(name)) for name in ("old.wav", "new.wav", "gone.wav"))
    assert [job.relative.name for job in Selection(newer_than=2000).of(found)] == ["gone.wav", "new.wav"]


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_every_recording_is_in_one_shard_and_shards_are_of_a_size(count: int) -> None:
    names = [f"agent{number % 9}/call-{number}.wav" for number in range(1600)]
    parts = [kept(Selection(shard=Shard(number, count)), *names) for number in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(0.6 < len(part) * count / len(names) < 1.4 for part in parts)


def test_a_shard_never_changes() -> None:
    """Another hash would hand recordings from one machine to another between two nights."""
    held = [[name for name in NAMES if Shard(number, 3).holds(Path(name))] for number in (1, 2, 3)]
    assert held == HELD
    assert Shard(1, 1).holds(Path(os.fsdecode(b"\xe4.wav")))


HELD = [["night/old/c.wav", "x[1].wav"], ["a.wav", "b.flac"], ["night/a.wav"]]


@pytest.mark.parametrize(("text", "shard"), [("1/1", Shard(1, 1)), ("3/16", Shard(3, 16)), (" 16/16", Shard(16, 16))])
def test_shards_are_read(text: str, shard: Shard) -> None:
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "0/4", "5/4", "1/0", "1", "a/b", "-1/4", "1/4/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)


def test_ages_and_dates_are_read() -> None:
    assert parse_newer_than("36h", 1e6) == 1e6 - 36 * 3600
    assert parse_newer_than("7d", 1e6) == 1e6 - 7 * 86_400
    assert parse_newer_than("2026-05-31", 0) == datetime(2026, 5, 31).timestamp()
    assert parse_newer_than("2026-05-31T06:00+02:00", 0) == datetime.fromisoformat("2026-05-31T04:00+00:00").timestamp()


@pytest.mark.parametrize("text", ["", "soon", "7", "7y", "-7d", "31.05.2026"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--newer-than"):
        parse_newer_than(text, 0)
