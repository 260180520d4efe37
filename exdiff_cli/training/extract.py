"""What Extract learns: to mask the queried source out of a mixture."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from exdiff_cli.audio.spectral import SMALL, SpectralConfig, analyse, synthesise
from exdiff_cli.extract.resunet import ResUNetConfig, deepen
from exdiff_cli.extract.separator import Separator, SeparatorConfig
from exdiff_cli.presets import preset_name
from exdiff_cli.training.disturbance import disturbance
from exdiff_cli.training.hearing import heard_measures
from exdiff_cli.training.losses import SILENCE_ENERGY, loudness_error, separation_loss, si_sdr, spectral_loss
from exdiff_cli.training.mixing import Mixture
from exdiff_cli.training.objective import Objective
from exdiff_cli.training.trainer import OnMixtures

NOISE_QUERY_SHARE = 8
"""One example in so many is asked for its noise, so that the query means something."""

VALIDATION_ROWS = 8
"""Mixtures at a time where many are measured: memory stays small."""


class ExtractTask(OnMixtures):
    """Trains a :class:`Separator` on both queries."""

    def __init__(
        self,
        config: SeparatorConfig | None = None,
        spectral: SpectralConfig = SMALL,
        objective: Objective | None = None,
    ) -> None:
        config = config or ResUNetConfig()
        self.spectral, self.objective = spectral, objective or Objective()
        self.model = Separator(config)
        self.description: dict[str, Any] = {
            "model": "extract",
            "preset": preset_name(config),
            "config": asdict(config),
            "objective": asdict(self.objective),
        }

    def adopt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As :meth:`Task.adopt`; a separator with fewer dual-path blocks is completed."""
        return deepen(weights, self.model.state_dict(), "network.bottleneck.")

    def loss(self, batch: Mixture, step: int, progress: float) -> Tensor:
        rows = torch.arange(len(batch.mixture), device=batch.mixture.device)
        wants_noise = (rows + step) % NOISE_QUERY_SHARE == 0
        target = torch.where(wants_noise[:, None], batch.noise, batch.speech)
        extraction = self.model(self._spectrum(batch.mixture), wants_noise.long())
        return separation_loss(extraction.estimate, self._spectrum(target), target, self.spectral, self.objective)

    def _spectrum(self, waveform: Tensor) -> Tensor:
        return analyse(waveform, self.spectral)

    def validate(self, batch: Mixture) -> dict[str, float]:
        """Measures of the speech query."""
        parts = torch.split(batch.mixture, VALIDATION_ROWS)
        queries = [torch.zeros(len(part), dtype=torch.long, device=part.device) for part in parts]
        estimates = [
            self.model(self._spectrum(part), query).estimate for part, query in zip(parts, queries, strict=True)
        ]
        return validation_measures(torch.cat(estimates), batch, self.spectral, self.objective)


def validation_measures(
    estimate: Tensor, batch: Mixture, spectral: SpectralConfig, objective: Objective
) -> dict[str, float]:
    """Spectral loss, mean SI-SDR and disturbance of mixtures that hold speech, and a ``score``.

    The score blends them in the training loss's proportions, ``0.02 SI-SDR - 10 loss - weight * disturbance``, and
    loudness too where it is learnt; chosen by ear, it is what :func:`heard_measures` say, which are given then too.
    """
    target = analyse(batch.speech, spectral)
    loss = spectral_loss(estimate, target, spectral, objective).item()
    waveform = synthesise(estimate, batch.mixture.shape[-1], spectral)
    audible = batch.speech.square().mean(-1) > SILENCE_ENERGY * 1e-2
    # Without any speech the means would be no numbers, and no weights the best.
    heard = (waveform[audible], batch.speech[audible]) if audible.any() else None
    ratio = si_sdr(*heard).mean().item() if heard else 0.0
    minded = disturbance(*heard).mean().item() if heard else 0.0
    score = 0.02 * ratio - 10 * loss - objective.disturbance * minded
    if objective.loudness:
        score -= objective.loudness * loudness_error(estimate, target, spectral).item()
    measures = {"valid_loss": loss, "si_sdr": ratio, "disturbance": minded, "score": score}
    return measures | (heard_measures(waveform, batch.speech) if objective.by_ear else {})
