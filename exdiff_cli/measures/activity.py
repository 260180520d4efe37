"""Where somebody speaks: Silero's voice activity detector, streamed.

The package silero-vad carries the model; it is not imported, as it would set torch's number of threads.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from exdiff_cli.errors import UsageError
from exdiff_cli.measures import SAMPLE_RATE, Floats

FRAME_SAMPLES = 512
"""The detector judges frames of 32 ms at 16 kHz."""

FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
_CONTEXT = 64
_MODEL = Path("data", "silero_vad_16k_sequence.onnx")


@cache
def _session() -> Any:
    package = importlib.util.find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise UsageError("voice activity needs the model in the package silero-vad: pip install silero-vad")
    model = Path(package.submodule_search_locations[0], _MODEL)
    if not model.is_file():
        raise UsageError(f"voice activity model {model} is missing: reinstall the package silero-vad")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class ActivityMeter:
    """Probability of speech in each frame of a mono signal at 16 kHz, fed in chunks of any length."""

    def __init__(self) -> None:
        self._hidden, self._cell = np.zeros((2, 1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._pending = np.zeros(0, np.float32)

    def push(self, chunk: Floats) -> Floats:
        """Probabilities ``(frames,)`` of the frames that ``chunk`` ``(samples,)`` completes, 0 to 1."""
        waiting = np.concatenate([self._pending, chunk.astype(np.float32)])
        count = len(waiting) // FRAME_SAMPLES
        whole, self._pending = np.split(waiting, [count * FRAME_SAMPLES])
        return self._judge(whole.reshape(count, FRAME_SAMPLES))

    def flush(self) -> Floats:
        """The last frame, filled up with silence; nothing where the signal ends with a whole one."""
        rest, self._pending = self._pending, np.zeros(0, np.float32)
        if not rest.size:
            return np.zeros(0, np.float32)
        return self._judge(np.pad(rest, (0, FRAME_SAMPLES - len(rest)))[None])

    def _judge(self, frames: Floats) -> Floats:
        if not len(frames):
            return np.zeros(0, np.float32)
        ends = frames[:, -_CONTEXT:]
        contexts = np.concatenate([self._context[None], ends[:-1]])
        self._context = ends[-1]
        given = {"input": np.concatenate([contexts, frames], axis=1), "h": self._hidden, "c": self._cell}
        probabilities, self._hidden, self._cell = _session().run(["speech_probs", "hn", "cn"], given)
        return np.asarray(probabilities)


def activity(audio: Floats) -> Floats:
    """Probabilities ``(frames,)`` of a whole signal ``(samples,)`` at 16 kHz."""
    meter = ActivityMeter()
    return np.concatenate([meter.push(audio), meter.flush()])
