"""How torch and what it builds on say that memory ran out."""

from __future__ import annotations

import torch

_ALLOCATORS = (
    "DefaultCPUAllocator",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "could not create a primitive",
)
"""What they say where they raise no error of its own kind."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether it says that memory ran out, of a GPU or of the machine."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATORS)
