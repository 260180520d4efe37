"""Reading ahead: all of it in order, no further than asked, and no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from exdiff_cli.read_ahead import read_ahead


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "decode"]


def prefetch(items: Iterator[Any], depth: int) -> Generator[Any]:
    """With one reader of one source."""
    return read_ahead(iter([items]), depth, 1)


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_prefetch_gives_all_in_order(depth: int) -> None:
    assert list(prefetch(iter(range(20)), depth)) == list(range(20))
    assert not decoders()


def test_prefetch_passes_exceptions_as_items_too() -> None:
    error = ValueError("an item like any other")
    assert list(prefetch(iter([error]), 1)) == [error]


@pytest.mark.parametrize("error", [ValueError("bad"), MemoryError(), KeyboardInterrupt()])
def test_prefetch_raises_what_the_items_raise_after_those_before_it(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise error

    found: list[int] = []
    with pytest.raises(type(error)):
        found.extend(prefetch(items(), 4))
    assert found == [1]
    assert not decoders()


def test_closing_prefetch_ends_its_thread_and_its_items() -> None:
    produced: list[int] = []
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            for number in range(10**9):
                produced.append(number)
                yield number
        finally:
            closed.set()

    ahead = prefetch(items(), 3)
    assert next(ahead) == 0
    ahead.close()
    assert not decoders()
    del ahead
    assert closed.wait(10)
    assert len(produced) < 100


def test_prefetch_runs_no_further_ahead_than_asked() -> None:
    produced: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            produced.append(number)
            yield number

    ahead = prefetch(items(), 3)
    next(ahead)
    time.sleep(0.1)
    assert len(produced) <= 5  # one taken, three waiting, one in hand
    ahead.close()


# --- several readers --------------------------------------------------------------------------------------------------


def test_several_readers_keep_the_order_of_each_source() -> None:
    sources = ([(number, index) for index in range(50)] for number in range(7))
    found = list(read_ahead(map(iter, sources), 4, 3))
    assert len(found) == 350
    for number in range(7):
        assert [item for item in found if item[0] == number] == [(number, index) for index in range(50)]


def test_as_many_sources_are_read_at_a_time_as_there_are_readers() -> None:
    together = threading.Barrier(3)

    def source() -> Iterator[int]:
        together.wait(10)
        yield 1

    assert list(read_ahead(iter([source() for _ in range(3)]), 1, 3)) == [1, 1, 1]


@pytest.mark.parametrize("where", ["source", "sources"])
def test_what_a_reader_raises_is_raised(where: str) -> None:
    def source() -> Iterator[int]:
        yield 1
        if where == "source":
            raise KeyError("bad")

    def sources() -> Iterator[Iterator[int]]:
        yield source()
        if where == "sources":
            raise KeyError("bad")

    with pytest.raises(KeyError, match="bad"):
        list(read_ahead(sources(), 4, 3))
    assert not decoders()


def test_closing_ends_all_readers_without_end() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    ahead = read_ahead(iter([endless() for _ in range(9)]), 2, 3)
    next(ahead)
    ahead.close()
    assert not decoders()
