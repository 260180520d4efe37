"""How fast a device multiplies matrices at best: what the networks' speed is measured by."""

from __future__ import annotations

from time import perf_counter

import torch

TRIES = 5
SIZES = {"cpu": 2_048, "cuda": 8_192}


def matrix_peaks(device: torch.device) -> dict[str, float]:
    """Floating-point operations a second by type, with the threads that are set: float32, on CUDA also bfloat16."""
    types = (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,)
    return {str(kind).removeprefix("torch."): matrix_peak(device, kind, SIZES[device.type]) for kind in types}


def matrix_peak(device: torch.device, kind: torch.dtype, size: int) -> float:
    """The best of a few products of square matrices, the first of them untimed."""
    first, second = (torch.rand(size, size, device=device, dtype=kind) for _ in range(2))
    made = torch.mm(first, second)
    seconds = []
    for _ in range(TRIES):
        synchronise(device)
        began = perf_counter()
        torch.mm(first, second, out=made)
        synchronise(device)
        seconds.append(perf_counter() - began)
    return 2 * size**3 / min(seconds)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
