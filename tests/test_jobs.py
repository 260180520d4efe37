"""Jobs: in the order of a tree whatever the order they came in, each place once."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from exdiff_cli.errors import UsageError
from exdiff_cli.jobs import PAGE_JOBS, Job, Jobs, pages

NAMES = ["a", "a.wav", "b/a.wav", "b/z/0.wav", "b 1.wav", "b-1/c.wav", "é.wav", os.fsdecode(b"\xe4.wav"), "日.wav"]


def job(name: str, root: str = "in") -> Job:
    return Job(Path(root) / name, Path(name))


def test_any_order_gives_the_order_of_paths() -> None:
    found = [job(name) for name in NAMES[:-3]]
    Random(0).shuffle(found)
    assert list(Jobs(found)) == sorted(found, key=lambda each: each.relative.parts)


def test_names_of_any_bytes_come_back() -> None:
    found = {job(name) for name in NAMES}
    assert set(Jobs(found)) == found


def test_more_than_a_page() -> None:
    count = 2 * PAGE_JOBS + 1
    jobs = Jobs(job(f"{number:05}.wav") for number in reversed(range(count)))
    assert len(jobs) == count
    assert [each.relative.stem for each in jobs] == [f"{number:05}" for number in range(count)]


def test_an_empty_one_is_false() -> None:
    assert not Jobs()
    assert list(Jobs()) == []


def test_holds_places_and_not_what_only_looks_like_them() -> None:
    jobs = Jobs([job("b/a.wav")])
    assert jobs.holds(Path("b/a.wav"))
    assert not any(jobs.holds(Path(name)) for name in ("b", "b/a", "b/a.wav/c", "a.wav"))


@pytest.mark.parametrize(("first", "second"), [("a/b.wav", "a/b.wav"), ("a", "a/b.wav"), ("a", "a/b/c.wav")])
def test_two_sources_for_one_place_are_refused_even_with_others_between(first: str, second: str) -> None:
    jobs = Jobs([job(first, "in"), job(second, "elsewhere"), job("a b.wav"), job("a-b/c.wav")])
    with pytest.raises(UsageError, match=f"would both be written to {first};") as refused:
        jobs.refuse_collisions()
    assert f"in/{first}" in str(refused.value)
    assert f"elsewhere/{second}" in str(refused.value)


def test_what_only_looks_like_a_collision_is_none() -> None:
    jobs = Jobs([job(name) for name in ("a", "a.wav", "a b/c.wav", "ab", "b/a", "b/a0/c")])
    jobs.refuse_collisions()
    assert len(jobs) == 6


def test_one_recording_under_two_names_is_one_job(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").touch()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    jobs = Jobs(Job(tmp_path / folder / "a.wav", Path("a.wav")) for folder in ("real", "linked"))
    jobs.refuse_collisions()
    assert list(jobs) == [Job(tmp_path / "linked" / "a.wav", Path("a.wav"))]


def test_pages_hold_all_in_order() -> None:
    assert list(pages(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(pages([], 2)) == []
