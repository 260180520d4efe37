"""The stages that a recording goes through, and how long each of them took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter
from typing import TypeVar

STAGES = (
    "open",  # probe, hash and register it
    "decode",
    "resample",  # to the models' rate and back
    "speech",  # tell where somebody speaks
    "transform",  # Fourier transform and its inverse
    "extract",
    "diffuse",
    "guard",
    "join",  # cut into segments, overlap and limit them
    "measure",  # level, loudness and bandwidth, before and after
    "write",  # encode, bring to the disk, rename, and commit
    "score",  # DNSMOS and talk, of both
)

Item = TypeVar("Item")


class StageSeconds(dict[str, float]):
    """Wall time by stage, which several threads may add to at once."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(STAGES, 0.0))
        self._lock = Lock()

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self[stage] += seconds

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add what the block takes, whatever comes of it; a block inside another would count twice."""
        began = perf_counter()
        try:
            yield
        finally:
            self.add(stage, perf_counter() - began)

    def waiting(self, items: Iterable[Item], stage: str) -> Iterator[Item]:
        """The items as they come, and what each was waited for."""
        source, end = iter(items), object()
        while True:
            with self.timing(stage):
                item = next(source, end)
            if item is end:
                return
            yield item  # type: ignore[misc]
