"""Where somebody speaks: Silero's voice activity detector, streamed.

The package silero-vad carries the model; it is not imported, as it would set torch's number of threads.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from exdiff_cli.audio.spectral import LEVEL_RMS
from exdiff_cli.measures import Floats
from exdiff_cli.measures.packaged import onnx_session

FRAME_SAMPLES = 512
"""The detector judges frames of 32 ms at 16 kHz."""

_CONTEXT = 64


@cache
def _session() -> Any:
    name, install = "data/silero_vad_16k_sequence.onnx", "pip install silero-vad"
    return onnx_session("voice activity", "silero_vad", name, install, threads=1)


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


SILENCE_RMS = 1e-6
"""Below this, -120 dBFS, nothing is louder or fainter: there is nothing to normalise by."""


def rms(audio: Floats) -> float:
    """Of a whole signal ``(samples,)``; 0 for none."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if audio.size else 0.0


def levelled_activity(audio: Floats) -> Floats:
    """As :func:`activity`, at the level that the models hear: talk is talk, however faint it is."""
    return activity(audio * (LEVEL_RMS / max(rms(audio), SILENCE_RMS)))


def activity(audio: Floats) -> Floats:
    """Probabilities ``(frames,)`` of a whole signal ``(samples,)`` at 16 kHz."""
    # Whole frames, as each call of the detector costs as much as some more frames do.
    return ActivityMeter().push(np.pad(audio, (0, -len(audio) % FRAME_SAMPLES)))
