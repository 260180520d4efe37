"""Where batches run: on one device or several, in smaller parts where memory runs out, and in order.

A CPU enhances several batches side by side, each by one thread: that uses its cores better than one batch with all
threads, as recurrent layers go step by step. With one worker a batch runs in the caller's thread. Each GPU has a few
threads: one has the device, the others hear where somebody speaks in the next batch, draw its noise, and judge the one
before, so that the device does not wait for them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Lock, local
from typing import Protocol, TypeVar

import numpy as np
import torch

from exdiff_cli.bundle import Bundle
from exdiff_cli.enhancer import Enhanced, Enhancer, Piece
from exdiff_cli.memory import is_out_of_memory
from exdiff_cli.settings import GPU_BATCH, Resources, Settings

log = logging.getLogger(__name__)

GPU_THREADS = 3
"""A segment costs a core about 35 ms beside the models, by which one thread would hold a fast GPU up."""

MEMORY_SHARE = 0.8
"""Of a GPU's free memory that a batch may take: a library's workspaces grow in other ways than a batch does."""

CPU = torch.device("cpu")

Item = TypeVar("Item")


class NoMemoryError(Exception):
    """A segment for which there is not enough memory, not even alone."""


@dataclass(frozen=True)
class Batch:
    """What became of the pieces of a batch, in their order, and the seconds that it took by stage."""

    results: list[Enhanced | NoMemoryError]
    seconds: dict[str, float]


class Models(Protocol):
    """What of an :class:`Enhancer` is needed here."""

    device: torch.device
    seconds: dict[str, float]

    def enhance(self, pieces: Sequence[Piece]) -> list[Enhanced]: ...


@dataclass
class Limit:
    """The most segments at a time that a device had memory for, None while any number went well."""

    size: int | None = None
    is_told: bool = False

    def halve(self, size: int) -> None:
        """So many were too many."""
        self.size = min(size // 2, self.size or size)

    def tell(self, device: torch.device) -> None:
        """Once, when it is known."""
        if self.size is not None and not self.is_told:
            self.is_told = True
            log.warning("%s: too little memory for larger batches; give --batch %d", device, self.size)


class Worker:
    """The models on one device, which lose nothing where its memory runs out.

    A batch is then tried in halves, and later ones in parts of that size: ``limit``, which all workers on a device
    share. A segment that is too much alone is tried on the CPU, by what ``on_cpu`` makes, None where that is where the
    models are.
    """

    def __init__(self, models: Models, limit: Limit | None = None, on_cpu: Callable[[], Models] | None = None) -> None:
        self._models, self._limit, self._on_cpu = models, limit or Limit(), on_cpu
        self._last: Models | None = None

    @property
    def device(self) -> torch.device:
        return self._models.device

    def enhance(self, pieces: Sequence[Piece]) -> Batch:
        """Enhance pieces; those for which there is no memory come back as an error. What else is wrong is raised."""
        earlier = self._spent()
        results: list[Enhanced | NoMemoryError] = []
        while left := pieces[len(results) :]:
            part = left[: self._limit.size]
            made = _tried(self._models, part)
            if isinstance(made, list):
                results += made
                self._limit.tell(self.device)
            elif len(part) > 1:
                self._limit.halve(len(part))
            else:
                results.append(self._alone(part[0], made))
        return Batch(results, {stage: spent - earlier[stage] for stage, spent in self._spent().items()})

    def _alone(self, piece: Piece, error: NoMemoryError) -> Enhanced | NoMemoryError:
        if self._on_cpu is None:
            return error
        log.warning("%s: too little memory for one segment, which is enhanced on the CPU", self.device)
        self._last = self._last or self._on_cpu()
        made = _tried(self._last, [piece])
        return made[0] if isinstance(made, list) else made

    def _spent(self) -> dict[str, float]:
        last = self._last.seconds if self._last else {}
        return {stage: seconds + last.get(stage, 0.0) for stage, seconds in self._models.seconds.items()}


def _tried(models: Models, pieces: Sequence[Piece]) -> list[Enhanced] | NoMemoryError:
    try:
        return models.enhance(pieces)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).split("\n")[0][:120] or type(error).__name__
    # Only now that the error is gone with its traceback, which held all that the models had made so far.
    if models.device.type == "cuda":
        torch.cuda.empty_cache()
    return NoMemoryError(said)


def worker(enhancer: Enhancer, limit: Limit | None = None) -> Worker:
    """A worker that makes models for the CPU, of the same bundle, if it ever needs them."""

    def on_cpu() -> Enhancer:
        return Enhancer(enhancer.bundle.on(CPU), enhancer.settings, CPU)

    return Worker(enhancer, limit, None if enhancer.device.type == "cpu" else on_cpu)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Placement:
    """The models on all devices of ``resources``.

    ``batch`` is how many segments are to be handed over at a time, ``enhancer`` for what is done beside the batches.
    """

    def __init__(self, bundle: Bundle, settings: Settings, resources: Resources) -> None:
        self._threads = 1 if resources.devices[0] == "cpu" else torch.get_num_threads()
        enhancers: list[Enhancer] = []
        with self.one_thread_each():  # which the graphs of a bundle keep
            for device in map(_device, resources.devices):
                own = bundle.on(device) if enhancers else bundle
                enhancers.append(Enhancer(own, settings, device, turn=_turn(device)))
        self.enhancer = enhancers[0]
        self.batch = resources.batch or min(map(fitting_batch, enhancers))
        self._workers = [each for enhancer in enhancers for each in _workers(enhancer, resources.workers)]

    @contextmanager
    def one_thread_each(self) -> Iterator[None]:
        """On a CPU let torch use one thread, as each worker is one; the process has the others back afterwards.

        How many there are would change results by rounding.
        """
        with torch_threads(self._threads):
            yield

    def enhance(
        self, batches: Iterable[list[Item]], piece_of: Callable[[Item], Piece], is_over: Callable[[], bool]
    ) -> Generator[tuple[list[Item], Batch]]:
        """Enhance batches of what has a piece each; they come back in the order in which they were given.

        An empty batch says that no other comes until all before it have come back. Once it ``is_over`` nothing more
        does. Closing this waits for what the devices are at.
        """
        if len(self._workers) > 1:
            yield from self._dealt(batches, piece_of, is_over)
            return
        for batch in batches:
            if is_over():
                return
            if batch:
                yield batch, self._workers[0].enhance(list(map(piece_of, batch)))

    def _dealt(
        self, batches: Iterable[list[Item]], piece_of: Callable[[Item], Piece], is_over: Callable[[], bool]
    ) -> Generator[tuple[list[Item], Batch]]:
        """Any free thread takes the next batch. One more than there are threads is in hand, so that none waits."""
        mine, idle = local(), SimpleQueue[Worker]()
        for each in self._workers:
            idle.put(each)

        def begin() -> None:
            mine.worker = idle.get()
            torch.set_num_threads(self._threads)  # which is a thread's own, too
            if mine.worker.device.type == "cuda":
                torch.cuda.set_device(mine.worker.device)

        def run(pieces: list[Piece]) -> Batch:
            made: Batch = mine.worker.enhance(pieces)
            return made

        ahead: deque[tuple[list[Item], Future[Batch]]] = deque()
        pool = ThreadPoolExecutor(len(self._workers), "device", begin)
        try:
            for batch in batches:
                if is_over():
                    return
                if batch:
                    ahead.append((batch, pool.submit(run, list(map(piece_of, batch)))))
                while ahead and (not batch or len(ahead) > len(self._workers) or ahead[0][1].done()):
                    if is_over():
                        return
                    yield ahead[0][0], ahead.popleft()[1].result()
            while ahead and not is_over():
                yield ahead[0][0], ahead.popleft()[1].result()
        finally:
            pool.shutdown(cancel_futures=True)


def _device(name: str) -> torch.device:
    """A GPU without a number is the first one: not all of torch takes one without."""
    device = torch.device(name)
    return torch.device("cuda:0") if device.type == "cuda" and device.index is None else device


def _turn(device: torch.device) -> AbstractContextManager[object]:
    """Batches of several threads have a GPU in turn: each may need all of its memory."""
    return nullcontext() if device.type == "cpu" else Lock()


def _workers(enhancer: Enhancer, on_cpu: int) -> list[Worker]:
    """Those of a device, each with an enhancer of its own, which counts its own seconds."""
    count = on_cpu if enhancer.device.type == "cpu" else GPU_THREADS
    limit = Limit()
    return [worker(each, limit) for each in (enhancer, *(enhancer.sharing() for _ in range(count - 1)))]


def fitting_batch(enhancer: Enhancer) -> int:
    """How many segments a GPU has the memory for, by what one of them takes; at most :data:`GPU_BATCH`."""
    if enhancer.device.type == "cpu":
        return 1
    device, settings = enhancer.device, enhancer.settings
    noise = np.random.default_rng(0).standard_normal(settings.segment).astype(np.float32)
    everywhere = replace(enhancer, settings=replace(settings, skip_silence=False), seconds=dict(enhancer.seconds))
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with enhancer.bundle.without_replays():
        made = _tried(everywhere, [Piece(0.1 * noise, len(noise), 0)])
    if isinstance(made, NoMemoryError):
        return 1
    cost = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    return batch_for(torch.cuda.mem_get_info(device)[0], cost)


def batch_for(free: int, cost: int) -> int:
    """How many segments of ``cost`` bytes fit into ``free`` ones, and are worth while."""
    return max(1, min(GPU_BATCH, int(MEMORY_SHARE * free / max(cost, 1))))
