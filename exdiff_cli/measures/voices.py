"""Whether it is still the same voice: cosine similarity of speaker embeddings.

The embedding is the GE2E speaker encoder (Wan et al. 2018, arXiv 1710.10467) in the weights that the package
resemblyzer carries. The package itself is never imported: its own modules need librosa and more.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from exdiff_cli.measures import SAMPLE_RATE, Floats
from exdiff_cli.measures.packaged import packaged_file

_MELS = 40
_WINDOW = 160
"""Frames of 10 ms that one embedding is made of; neighbours overlap by about half."""

_HOP = 77
_LEVEL = 10 ** (-30 / 20)
"""The package raises quieter audio to this; louder one is lowered too here, as level is no trait of a voice."""


class SpeakerEncoder(nn.Module):
    """Three LSTM layers and a linear one; embeddings are non-negative and of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.mel = MelSpectrogram(SAMPLE_RATE, 400, hop_length=160, n_mels=_MELS, norm="slaney", mel_scale="slaney")

    def forward(self, windows: Tensor) -> Tensor:
        """``(windows, frames, 40)`` mel energies to ``(windows, 256)``."""
        hidden = self.lstm(windows)[1][0][-1]
        return nn.functional.normalize(self.linear(hidden).relu(), dim=-1)

    @torch.no_grad()
    def embed(self, audio: Floats) -> Tensor:
        """``(samples,)`` at 16 kHz to the mean embedding ``(256,)``, whatever its level: it is brought to -30 dBFS."""
        level = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
        signal = torch.from_numpy(np.asarray(audio * (_LEVEL / max(level, 1e-9)), dtype=np.float32))
        frames = self.mel(signal).T
        frames = nn.functional.pad(frames, (0, 0, 0, max(0, _WINDOW - len(frames))))
        windows = frames.unfold(0, _WINDOW, _HOP).transpose(1, 2)
        return nn.functional.normalize(self(windows).mean(0), dim=0)


def weights_file() -> Path | None:
    """Where the encoder's weights are; None where the package that carries them is not installed."""
    path = packaged_file("resemblyzer", "pretrained.pt")
    return path if path is not None and path.is_file() else None


@cache
def _encoder() -> SpeakerEncoder | None:
    path = weights_file()
    if path is None:
        return None
    encoder = SpeakerEncoder().eval()
    trained = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    own = encoder.state_dict()
    encoder.load_state_dict({**own, **{name: value for name, value in trained.items() if name in own}})
    return encoder


def speaker_similarity(estimate: Floats, clean: Floats) -> float | None:
    """Cosine similarity of the two voices, 0 to 1; None for silence and without the extra ``voices``."""
    encoder = _encoder()
    if encoder is None or not (estimate.any() and clean.any()):
        return None
    return float(encoder.embed(estimate) @ encoder.embed(clean))
