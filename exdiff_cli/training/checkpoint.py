"""The files of a training: written whole or not at all; one that is damaged is named in one clear line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from exdiff_cli.errors import DataError, OutputError
from exdiff_cli.publish import publish_bytes
from exdiff_cli.publish import writing as writing_result

STATE = frozenset({"model", "optimiser", "average", "step", "elapsed", "best"})
"""What every ``state.pt`` holds; younger ones hold more."""


def read_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Trained weights; :class:`DataError` where there are none."""
    try:
        return load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as weights ({error}); name a .safetensors file") from error


def read_state(path: Path) -> dict[str, Any]:
    """The state that a trainer saved, on the CPU: a full GPU must not look like a damaged file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if missing := STATE - state.keys():
            raise KeyError(*missing)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); mend that, or name another --out") from error
    except Exception as error:  # There is no end of what torch raises for a damaged file.
        problem = "is damaged, or no state of a training"
        raise DataError(f"{path}: {problem}; delete it to begin anew, or name another --out") from error
    return state


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Where the disk refuses, a :class:`DataError` that names the file: it was named on the command line."""
    try:
        with writing_result(path):
            yield
    except OutputError as error:
        raise DataError(str(error)) from error


def publish(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; :class:`DataError` where that fails."""
    with writing(path):
        publish_bytes(path, content)


def publish_weights(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights and what there is to know of them, whole or not at all; :class:`DataError` where that fails."""
    whole = {name: value.contiguous().cpu() for name, value in weights.items()}
    publish(path, to_bytes(whole, metadata={"exdiff": json.dumps(about, sort_keys=True)}))
