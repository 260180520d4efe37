"""Models that other packages carry, found without importing these: their own modules need, or change, too much."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from exdiff_cli.errors import UsageError


def packaged_file(package: str, name: str) -> Path | None:
    """Where an installed package keeps the file ``name``; None where the package is not installed."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0], name)


def onnx_session(purpose: str, package: str, name: str, install: str, threads: int) -> Any:
    """Open a packaged ONNX model on the CPU; :class:`UsageError` says what ``purpose`` lacks."""
    model = packaged_file(package, name)
    if model is None:
        raise UsageError(f"{purpose} needs the model in the package {package}: {install}")
    if not model.is_file():
        raise UsageError(f"{purpose} model {model} is missing: reinstall the package {package}")
    return cpu_session(str(model), threads)


def cpu_session(model: str | bytes, threads: int, spin: bool = True) -> Any:
    """Open an ONNX model, a path or its content, on the CPU; its threads wait for work busily if they may ``spin``."""
    # Its builds would report to their maker, keep an identifier in the user's cache, and leave a file in TMPDIR.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, too
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
