"""Runs what gives items in threads of its own, a few items ahead of whoever takes them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")


def read_ahead(sources: Iterator[Iterator[Item]], depth: int, readers: int) -> Generator[Item]:
    """Run so many sources at a time, each in a thread and in its own order, up to ``depth`` items ahead of all.

    ``sources`` themselves are asked by one thread at a time. Exceptions of both are raised here; closing this ends all.
    """
    line = _Line(sources, depth)
    threads = [Thread(target=line.fill, name="decode", daemon=True) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        while readers:
            is_end, item = line.queue.get()
            if isinstance(item, BaseException) and is_end:
                raise item
            if is_end:
                readers -= 1
            else:
                yield item  # type: ignore[misc]
    finally:
        line.stopped.set()
        while any(thread.is_alive() for thread in threads):
            with suppress(Empty):
                line.queue.get(timeout=0.05)


class _Line(Generic[Item]):
    """What has been read and waits, and after it, for each reader, its end: None, or an exception."""

    def __init__(self, sources: Iterator[Iterator[Item]], depth: int) -> None:
        self.queue: Queue[tuple[bool, Item | BaseException | None]] = Queue(depth)
        self.stopped = Event()
        self._sources, self._turn = sources, Lock()

    def fill(self) -> None:
        """Read until there are no more sources, or nobody takes anything any more."""
        try:
            while (source := self._take()) is not None:
                for item in source:
                    if self.stopped.is_set():
                        return
                    self.queue.put((False, item))
            self.queue.put((True, None))
        except BaseException as error:
            self.queue.put((True, error))

    def _take(self) -> Iterator[Item] | None:
        with self._turn:
            return None if self.stopped.is_set() else next(self._sources, None)
