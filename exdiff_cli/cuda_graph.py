"""The networks on a GPU as CUDA graphs: what is launched again and again in the same shapes is launched as one.

cuDNN runs a recurrent layer as some thousand small kernels, and launching each takes the host longer than the device
needs to compute it. What is costly is replayed, as on a CPU (:mod:`exdiff_cli.graph`): Extract's network, and what
Diffuse computes in each step. A graph is kept only where it gives what the networks give, and sooner.
"""

from __future__ import annotations

import copy
import logging
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import RLock
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from exdiff_cli.config import GRAPHS_VARIABLE
from exdiff_cli.diffuse.attention import Memory
from exdiff_cli.diffuse.score_net import Condition, DataPredictor
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.resunet30 import ResUNet30
from exdiff_cli.extract.separator import Extraction, Separator, separate
from exdiff_cli.memory import is_out_of_memory

log = logging.getLogger(__name__)

Tensors = tuple[Tensor, ...]
_Key = tuple[int, Hashable, torch.dtype]
"""A module by its id, the layouts of what goes in, and what is computed in."""

Call = Callable[..., Tensors]

SIGHTS = 3
"""Of a shape until it is captured: what a measurement or the end of a recording has may never come again."""

MOST_GRAPHS = 8
"""That are kept; each takes the memory of what goes in and comes out, and all of them that of one eager call."""

PATIENCE = 4
"""By so many times more sights a shape is captured again once it has gone: there may be more shapes than are kept."""

CHECKS = 2
"""Replays that are held against the network: of what was captured, and of something else."""

WORTH = 0.97
"""Of the network's time that a replay may take: less than that is no more than the timing's own spread."""

WARM_UPS, TIMED_CALLS = 3, 3

TOLERANCE = {torch.float32: 2.0**-13, torch.bfloat16: 2.0**-5, torch.float16: 2.0**-8}
"""By how much of the largest value a replay may differ, by the type that is computed in.

A replay runs the same kernels, so that it is mostly equal to the bit; but libraries may choose another algorithm, whose
sums have another order. That is a rounding error (2^-24, 2^-9, 2^-12) some thousand times over in sums of float32, and
a few times over from layer to layer in the short types, whose sums are float32. What reads or writes wrong memory is
off by about the whole.
"""

ON = frozenset({"1", "on", "t", "true", "y", "yes"})
OFF = frozenset({"", "0", "off", "f", "false", "n", "no"})


def graphs_wanted() -> bool:
    """Whether the environment asks for them: until a GPU has shown what they are worth, they are for who measures.

    Raises :class:`UsageError` for what is no yes or no.
    """
    asked = os.environ.get(GRAPHS_VARIABLE, "").strip().lower()
    if asked not in ON | OFF:
        raise UsageError(f"{GRAPHS_VARIABLE}={asked}: give yes or no")
    return asked in ON


class Device(Protocol):
    """What a GPU does for :class:`Replays`."""

    def capture(self, call: Callable[[], Tensors]) -> tuple[Callable[[], object], Tensors]:
        """What runs ``call`` again, and the tensors that it then writes its results to."""

    def milliseconds(self, call: Callable[[], object]) -> float:
        """How long ``call`` takes."""

    def wait(self) -> None:
        """Until all that was given to it is done, so that a graph may go."""

    def release(self) -> None:
        """Give back the memory of graphs that are gone."""


class CudaDevice:
    """A GPU, whose graphs share a pool of memory.

    They may, as results are copied out before another graph runs: :class:`Replays` sees to that.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None
        self._failed: list[torch.cuda.CUDAGraph] = []

    def capture(self, call: Callable[[], Tensors]) -> tuple[Callable[[], object], Tensors]:
        """As in :class:`Device`; RuntimeError where it cannot be captured."""
        with torch.cuda.device(self._device):
            stream = self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            current = torch.cuda.current_stream()
            stream.wait_stream(current)
            # torch.cuda.graph does not leave its stream where a capture fails: this does.
            with torch.cuda.stream(stream):
                # By this thread and on this stream: libraries choose algorithms now, and make handles and workspaces
                # that a graph must not own.
                for _ in range(WARM_UPS):
                    call()
                captured = self._captured(call, stream)
            current.wait_stream(stream)
        return captured

    def _captured(self, call: Callable[[], Tensors], stream: torch.cuda.Stream) -> tuple[Callable[[], object], Tensors]:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads pin memory and free what is on the device meanwhile, which they may in this mode.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                made = call()
        except BaseException:
            if not _has_ended(graph):
                # The allocator goes on asking such a graph, which must not be gone then, and gives nothing back until
                # it is told that nothing is captured any more.
                self._failed.append(graph)
                with suppress(RuntimeError, AttributeError):
                    torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)
            raise
        return graph.replay, made

    def milliseconds(self, call: Callable[[], object]) -> float:
        """As in :class:`Device`: from when the device is free, so that it counts what it waits for the host."""
        with torch.cuda.device(self._device):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            call()
            torch.cuda.synchronize()
            began.record()
            for _ in range(TIMED_CALLS):
                call()
            ended.record()
            ended.synchronize()
            return began.elapsed_time(ended) / TIMED_CALLS

    def wait(self) -> None:
        """As in :class:`Device`."""
        torch.cuda.synchronize(self._device)

    def release(self) -> None:
        """As in :class:`Device`. A pool is a new one after that, as the last graph of the old one took it along."""
        self._pool = None
        with torch.cuda.device(self._device):
            torch.cuda.empty_cache()


def _has_ended(graph: torch.cuda.CUDAGraph) -> bool:
    """Whether its capture came to an end, be it an early one."""
    try:
        graph.pool()
    except RuntimeError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class _Graph:
    """A captured call with what it reads and writes.

    ``weights`` are never looked at: they keep the memory that the graph reads where it is, though a module be moved.
    """

    replay: Callable[[], object]
    inputs: Tensors
    outputs: Tensors
    weights: Tensors

    def __call__(self, *given: Tensor) -> Tensors:
        for own, each in zip(self.inputs, given, strict=True):
            own.copy_(each)
        self.replay()
        return tuple(each.clone() for each in self.outputs)


@dataclass(eq=False)
class _Shape:
    """What is known of one shape of what goes into a network."""

    missing: int = SIGHTS
    evictions: int = 0
    checks: int = CHECKS
    is_eager: bool = False
    graph: _Graph | None = None

    def is_due(self) -> bool:
        """Whether this sight of it is the one to capture it at."""
        self.missing = max(0, self.missing - 1)
        return not (self.missing or self.is_eager)

    def drop(self) -> None:
        """Let the graph go, and wait longer for the next."""
        self.evictions += 1
        self.graph, self.checks, self.missing = None, CHECKS, SIGHTS * PATIENCE**self.evictions


class Replays:
    """The graphs of a bundle's networks on one device, by the shapes of what goes in.

    A shape is captured where it is seen for the third time. Its first replays are held against the network; one that
    differs ends all graphs, and one that is no faster, or cannot be captured, ends its own. Where memory runs out there
    are none from then on.

    Threads that share a device have it in turn. If two came at once nevertheless, one would do without graphs. What is
    done is on the stream that is current, which is the same one for all.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._shapes: OrderedDict[_Key, _Shape] = OrderedDict()
        self._refused: set[int] = set()
        self._is_on, self._is_paused = True, False
        self._inside = RLock()

    @property
    def count(self) -> int:
        """How many graphs there are."""
        return sum(shape.graph is not None for shape in self._shapes.values())

    def run(self, module: nn.Module, call: Call, inputs: Tensors) -> Tensors:
        """``call(*inputs)``, which is made of the weights of ``module`` and of ``inputs`` alone."""
        made = self._replayed(module, call, inputs) if self._may_replay(module) else None
        # Outside of what is caught there: whatever is wrong with the network itself is the caller's.
        return call(*inputs) if made is None else made

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Neither capture nor replay meanwhile."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def release(self) -> bool:
        """If there are any graphs let all of them go, and make none any more; whether there were."""
        with self._inside:
            had = self.count > 0
            if had:
                self._end()
        return had

    def _end(self) -> None:
        self._is_on = False
        self._device.wait()
        self._shapes.clear()
        self._device.release()

    def _may_replay(self, module: nn.Module) -> bool:
        # Who wants gradients, or counts operations, is not in inference mode.
        may = self._is_on and not self._is_paused and id(module) not in self._refused
        return may and torch.is_inference_mode_enabled()

    def _replayed(self, module: nn.Module, call: Call, inputs: Tensors) -> Tensors | None:
        """What a graph makes of it, or None where there is none, or it failed."""
        if not self._inside.acquire(blocking=False):
            return None
        try:
            shape = self._shape(module, inputs)
            if shape.graph is None and shape.is_due():
                self._make_room()
                shape.graph = self._capture(module, call, inputs)
            if shape.graph is None:
                return None
            return self._checked(shape, shape.graph, call, inputs) if shape.checks else shape.graph(*inputs)
        except Exception as error:  # Whatever it is, the network itself is still there.
            problem, is_shortage = _first_line(error), is_out_of_memory(error)
        finally:
            self._inside.release()
        # Only now that the error is gone with its traceback, which held what had been made so far.
        self._give_up(module, problem, is_shortage)
        return None

    def _shape(self, module: nn.Module, inputs: Tensors) -> _Shape:
        """The one in hand, which is now the last one used."""
        layouts = tuple((each.shape, each.stride(), each.dtype) for each in inputs)
        key = (id(module), layouts, _computed_in(inputs))
        shape = self._shapes.setdefault(key, _Shape())
        self._shapes.move_to_end(key)
        return shape

    def _make_room(self) -> None:
        held = [shape for shape in self._shapes.values() if shape.graph is not None]
        if len(held) >= MOST_GRAPHS:
            self._device.wait()
            held[0].drop()

    def _capture(self, module: nn.Module, call: Call, inputs: Tensors) -> _Graph:
        own = tuple(torch.empty_like(each).copy_(each) for each in inputs)
        with _without_cached_weights(inputs):
            replay, outputs = self._device.capture(lambda: call(*own))
        weights = (*module.parameters(), *module.buffers())
        return _Graph(replay, own, outputs, tuple(each.detach() for each in weights))

    def _checked(self, shape: _Shape, graph: _Graph, call: Call, inputs: Tensors) -> Tensors:
        """The network's own results, to which those of the graph are compared."""
        wanted = call(*inputs)
        if not agree(graph(*inputs), wanted, TOLERANCE[_computed_in(inputs)]):
            log.warning("CUDA graphs are off: a replay differed from its network; please report it")
            self._end()
        elif shape.checks == CHECKS and not self._is_faster(graph, call, inputs):
            shape.graph, shape.is_eager = None, True
        else:
            shape.checks -= 1
        return wanted

    def _is_faster(self, graph: _Graph, call: Call, inputs: Tensors) -> bool:
        without, replayed = (self._device.milliseconds(lambda each=each: each(*inputs)) for each in (call, graph))  # type: ignore[misc]
        log.debug("a CUDA graph: %.2f ms, without %.2f ms", replayed, without)
        return replayed < WORTH * without

    def _give_up(self, module: nn.Module, problem: str, is_shortage: bool) -> None:
        log.debug("a CUDA graph failed (%s)", problem)
        with self._inside:
            if is_shortage:
                self._end()
                return
            self._device.wait()
            # What one shape of a network cannot do no other can, and each capture that fails may cost memory.
            self._refused.add(id(module))
            for key in [key for key in self._shapes if key[0] == id(module)]:
                del self._shapes[key]


def agree(found: Tensors, wanted: Tensors, tolerance: float) -> bool:
    """Whether tensors differ by no more than ``tolerance`` of the largest value of each; no number never agrees."""
    return all(
        one.shape == other.shape and 0 <= float((one - other).abs().max()) <= tolerance * _largest(other)
        for one, other in zip(found, wanted, strict=True)
    )


def _largest(tensor: Tensor) -> float:
    found = float(tensor.abs().max())
    return found if math.isfinite(found) else -1.0


def _computed_in(inputs: Tensors) -> torch.dtype:
    kind = inputs[0].device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32


@contextmanager
def _without_cached_weights(inputs: Tensors) -> Iterator[None]:
    """Where weights are cast on the way: a graph must cast them itself, not read a copy that goes with the context."""
    kind = inputs[0].device.type
    enabled = torch.is_autocast_enabled(kind)
    with torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=enabled, cache_enabled=False):
        yield


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:120] or type(error).__name__


# --- the networks -------------------------------------------------------------------------------------------


class ReplayedSeparator(Separator):
    """A separator whose network is replayed; a copy of it is a plain one."""

    def __init__(self, separator: Separator, replays: Replays) -> None:
        nn.Module.__init__(self)
        self.queries, self.network = separator.queries, separator.network
        self._plain, self._replays = (separator,), replays  # In a tuple, so that it is no part of this one.

    def __deepcopy__(self, memo: dict[int, Any]) -> Separator:
        return copy.deepcopy(self._plain[0], memo)

    def forward(self, mixture: Tensor, query: Tensor) -> Extraction:
        """As in :class:`Separator`."""
        wanted = self.queries(query)
        if isinstance(self.network, ResUNet30):
            return Extraction(*self._run(mixture, wanted))
        return separate(self._run, mixture, wanted)

    def _run(self, given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensors]:
        first, *latents = self._replays.run(self.network, self._flat, (given, wanted))
        return first, tuple(latents)

    def _flat(self, given: Tensor, wanted: Tensor) -> Tensors:
        first, latents = self.network(given, wanted)
        return first, *latents


class ReplayedScoreNet(DataPredictor):
    """A score network whose steps are replayed; a copy of it is a plain one."""

    def __init__(self, net: DataPredictor, replays: Replays) -> None:
        super().__init__()
        self.net, self._replays = net, replays
        self.stride = net.stride
        self.concatenate_estimate, self.attend_latents = net.concatenate_estimate, net.attend_latents

    def __deepcopy__(self, memo: dict[int, Any]) -> DataPredictor:
        return copy.deepcopy(self.net, memo)

    def condition(self, mixture: Tensor, extraction: Extraction, keep_latents: Tensor | None = None) -> Condition:
        """As in :class:`DataPredictor`."""
        return self.net.condition(mixture, extraction, keep_latents)

    def sources(self, state: Tensor, condition: Condition) -> list[Tensor]:
        """As in :class:`DataPredictor`."""
        return self.net.sources(state, condition)

    def first_answer(self, channels: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """As in :class:`DataPredictor`."""
        return self.net.first_answer(channels, condition)

    def features(self, sources: list[Tensor]) -> Tensor:
        """As in :class:`DataPredictor`."""
        return self.net.features(sources)

    def correct(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """As in :class:`DataPredictor`."""
        parts = [each for memory in condition.memories for each in (memory.keys, memory.values, memory.open)]
        fine = () if condition.fine is None else (condition.fine,)
        return self._replays.run(self.net, self._step, (x, t, *parts, *fine))[0]

    def _step(self, x: Tensor, t: Tensor, *parts: Tensor) -> Tensors:
        """With plain tensors for what a step looks at of its condition."""
        past = 3 * len(self.net.attentions)
        memories = tuple(Memory(*parts[first : first + 3]) for first in range(0, past, 3))
        return (self.net.correct(x, t, Condition(x, x, memories, parts[past] if len(parts) > past else None)),)
