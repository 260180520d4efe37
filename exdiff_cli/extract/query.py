"""Queries: what to take out of a mixture, as one embedding a source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

QUERIES: tuple[str, ...] = ("speech", "noise")


class QueryBank(nn.Module):
    """One embedding a named query: Kong et al. 2023, section III-C, but learned in place of averaged."""

    def __init__(self, size: int, names: tuple[str, ...] = QUERIES) -> None:
        super().__init__()
        self.names = names
        self.embeddings = nn.Parameter(torch.randn(len(names), size) / size**0.5)

    def index(self, name: str) -> int:
        """Row of a query; ``KeyError`` for a name that this bank was not trained on."""
        if name not in self.names:
            raise KeyError(f"no query named {name!r}; known: {', '.join(self.names)}")
        return self.names.index(name)

    def forward(self, indices: Tensor) -> Tensor:
        """Look ``(batch,)`` rows up and return ``(batch, size)``."""
        return self.embeddings[indices]
