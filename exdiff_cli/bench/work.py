"""How much the networks have to reckon: multiply-accumulate operations (MACs) of a second of sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from exdiff_cli.audio.spectral import SpectralConfig
from exdiff_cli.bundle import Bundle
from exdiff_cli.diffuse.score_net import DataPredictor
from exdiff_cli.extract.separator import Separator

FRAMES = 512
"""What MACs are counted on: whole windows of attention, and whole strides of every network."""

GATES = {nn.GRU: 3, nn.LSTM: 4, nn.RNN: 1}


@dataclass
class MacCounter:
    """Counts what goes through a module, while it is open: convolutions, matrix products and recurrent layers.

    Torch's counter knows the first two. Of recurrent layers it may see all, some or nothing, as the device has it, so
    that whatever it counts in them is replaced by :func:`recurrent_macs`. Norms, activations, sums and other work of
    an element at a time are left out. Attention is counted as two products of matrices over all pairs.
    """

    module: nn.Module
    _counter: FlopCounterMode = field(default_factory=lambda: FlopCounterMode(display=False))
    _recurrent: int = 0
    _seen_before: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> MacCounter:
        for layer in self.module.modules():
            if isinstance(layer, nn.RNNBase):
                self._stack.callback(layer.register_forward_pre_hook(self._before).remove)
                self._stack.callback(layer.register_forward_hook(self._after).remove)
        # Torch's counter does not know the fused kernel of the CPU.
        self._stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        self._stack.enter_context(self._counter)
        return self

    def __exit__(self, *about: Any) -> None:
        self._stack.__exit__(*about)

    @property
    def macs(self) -> int:
        """All that was counted so far."""
        return self._counter.get_total_flops() // 2 + self._recurrent

    def _before(self, layer: nn.Module, given: tuple[Any, ...]) -> None:
        self._seen_before = self._counter.get_total_flops()

    def _after(self, layer: nn.Module, given: tuple[Any, ...], made: object) -> None:
        assert isinstance(layer, nn.RNNBase)
        seen = self._counter.get_total_flops() - self._seen_before
        self._recurrent += recurrent_macs(layer, given[0].numel() // given[0].shape[-1]) - seen // 2


def recurrent_macs(layer: nn.RNNBase, steps: int) -> int:
    """MACs of ``steps`` of a recurrent layer, of all sequences together.

    Each gate multiplies what comes in and the hidden state by a matrix; the products of gates are left out.
    """
    assert not layer.proj_size
    gates = next(count for kind, count in GATES.items() if isinstance(layer, kind))
    directions = 2 if layer.bidirectional else 1
    inputs = [layer.input_size, *[directions * layer.hidden_size] * (layer.num_layers - 1)]
    return sum(steps * directions * gates * layer.hidden_size * (size + layer.hidden_size) for size in inputs)


@dataclass(frozen=True)
class NetworkMacs:
    """MACs of a frame: of Extract, and of one evaluation of Diffuse; what Diffuse prepares once is left out."""

    extract: float
    diffuse: float

    def of(self, frames: dict[str, int]) -> float:
        """All MACs of a run, by the frames that went through each network."""
        return self.extract * frames["extract"] + self.diffuse * frames["diffuse"]


@torch.no_grad()
def count_macs(bundle: Bundle, device: torch.device) -> NetworkMacs:
    """Count both networks on random spectra; the number of MACs does not depend on what they hold."""
    spectrum = random_spectrum(1, bundle.spectral, FRAMES, device)
    with MacCounter(bundle.separator) as extract:
        extraction = bundle.separator(spectrum, torch.zeros(1, dtype=torch.long, device=device))
    condition = bundle.score_net.condition(spectrum, extraction)
    with MacCounter(bundle.score_net) as diffuse:
        bundle.score_net(spectrum, torch.full((1,), 0.5, device=device), condition)
    return NetworkMacs(extract.macs / FRAMES, diffuse.macs / FRAMES)


def random_spectrum(rows: int, spectral: SpectralConfig, frames: int, device: torch.device) -> Tensor:
    """Complex noise ``(rows, bins, frames)``."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, spectral.bins, frames, dtype=torch.complex64, generator=generator).to(device)


@contextmanager
def counted_frames() -> Iterator[dict[str, list[int]]]:
    """Note how many frames, of all rows together, each call of any separator and score network is given meanwhile."""
    frames: dict[str, list[int]] = {"extract": [], "diffuse": []}

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        # Appended, not added up: several threads compute at the same time.
        if isinstance(module, Separator | DataPredictor):
            network = "extract" if isinstance(module, Separator) else "diffuse"
            frames[network].append(given[0].shape[0] * given[0].shape[-1])

    hook = register_module_forward_pre_hook(note)
    try:
        yield frames
    finally:
        hook.remove()
