"""What Diffuse learns: to predict clean speech from the states that its own sampler meets."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from exdiff_cli.audio.spectral import SMALL, SpectralConfig, analyse
from exdiff_cli.diffuse.generate import SamplerConfig, generate, seeded_noise
from exdiff_cli.diffuse.sampler import BridgeKind, sample_bridge, schedule
from exdiff_cli.diffuse.score_net import Condition, ScoreNet, ScoreNetConfig
from exdiff_cli.diffuse.sde import score_matching_loss
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.resunet import deepen
from exdiff_cli.extract.separator import Extraction, Separator
from exdiff_cli.presets import NetConfig, build_score_net, preset_name
from exdiff_cli.training.extract import VALIDATION_ROWS, validation_measures
from exdiff_cli.training.losses import separation_loss
from exdiff_cli.training.mixing import Mixture
from exdiff_cli.training.objective import Objective
from exdiff_cli.training.trainer import OnMixtures

EARLIEST_TIME = 0.02
ROLLOUT_SHARE = 0.5
ROLLOUT_FROM = 0.1
"""Share of the training time after which states come from the sampler too: before, it has nothing to say."""

ROLLOUT_STEPS = (2, 4)
COMPARED_MIXTURES = 40
"""How many mixtures of the validation set, one round of its scenes, do for comparisons."""

STATE_SEED = 0x5EED_0000


class DiffuseTask(OnMixtures):
    """Trains a :class:`DataPredictor` on a frozen :class:`Separator`."""

    def __init__(
        self,
        separator: Separator,
        sampler: SamplerConfig | None = None,
        config: NetConfig | None = None,
        latents_dropped: float = 0.1,
        spectral: SpectralConfig = SMALL,
        objective: Objective | None = None,
    ) -> None:
        config = config or ScoreNetConfig()
        self.separator = separator.eval().requires_grad_(False)
        self.sampler = sampler or SamplerConfig()
        self.latents_dropped, self.spectral, self.objective = latents_dropped, spectral, objective or Objective()
        self.model = build_score_net(config)
        if isinstance(self.model, ScoreNet):
            self.model.begin_from(self.separator)
        self.description: dict[str, Any] = {
            "model": "diffuse",
            "preset": preset_name(config),
            "config": asdict(config),
            "sampler": asdict(self.sampler),
            "objective": asdict(self.objective),
        }

    def adopt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As :meth:`Task.adopt`; a network with fewer dual-path blocks is completed."""
        return deepen(weights, self.model.state_dict(), "trunk.bottleneck.")

    def to_spectrum(self, waveform: Tensor) -> Tensor:
        return analyse(waveform, self.spectral)

    @torch.no_grad()
    def extract(self, mixture: Tensor) -> Extraction:
        """The frozen separator's estimate of speech and its latents, for a compressed mixture spectrum."""
        self.separator.to(mixture.device)
        return self.separator(mixture, torch.zeros(len(mixture), dtype=torch.long, device=mixture.device))

    def loss(self, batch: Mixture, step: int, progress: float) -> Tensor:
        mixture, target = self.to_spectrum(batch.mixture), self.to_spectrum(batch.speech)
        extraction = self.extract(mixture)
        # Away from the seeds that the mixtures of the same step are drawn from.
        generator = torch.Generator(mixture.device).manual_seed(STATE_SEED + step)
        keep = torch.rand(len(mixture), generator=generator, device=mixture.device) >= self.latents_dropped
        condition = self.model.condition(mixture, extraction, keep)
        if self.sampler.process == "ouve":
            return self._score_matching(target, condition, generator)
        state, t = self._draw_state(target, condition, progress, generator)
        prediction = self.model(state, t, condition)
        return separation_loss(prediction, target, batch.speech, self.spectral, self.objective)

    def _noise_like(self, state: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(state.shape, generator=generator, device=state.device, dtype=state.dtype)

    def _score_matching(self, target: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """OUVE's objective (Richter et al. 2023, eq. 16), through the data prediction."""
        ouve = self.sampler.ouve()
        t = self._times(len(target), 0.03, 1.0, generator)
        noise = self._noise_like(target, generator)
        state = ouve.perturb(target, condition.mixture, t, noise)
        score = ouve.score(state, self.model(state, t, condition), condition.mixture, t)
        return score_matching_loss(score, noise, ouve.std(t))

    def _times(self, count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
        return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low

    def _draw_state(
        self, target: Tensor, condition: Condition, progress: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """A state and its times: at a warm start, or on the bridge to the target, or along a sampler's run."""
        kind = float(torch.rand(1, generator=generator, device=generator.device))
        if kind < ROLLOUT_SHARE and progress >= ROLLOUT_FROM:
            return self._roll_out(condition, generator)
        # States that hold the target teach a network to trust them, and those of sampling hold the estimate instead;
        # but one that is not shown the estimate must not find it in its states either.
        warm = self.model.concatenate_estimate
        t = self._times(len(target), 0.3 if warm else EARLIEST_TIME, 1.0, generator)
        if warm:  # Half of them as sampling begins.
            t[::2] = self.sampler.start
        goal = condition.estimate if warm else target
        noise = self._noise_like(target, generator)
        return self.sampler.bridge().perturb(goal, condition.mixture, t, noise), t

    @torch.no_grad()
    def _roll_out(self, condition: Condition, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Run the sampler for a random part of its steps and return where it is then.

        Training on one's own states corrects the reverse process (CRP, Lay et al. 2024, arXiv 2309.09677): at
        use they are made of estimates, never of the target.
        """
        bridge = self.sampler.bridge()
        choice = torch.randint(0, 1 << 16, (3,), generator=generator, device=generator.device).tolist()
        steps = ROLLOUT_STEPS[choice[0] % len(ROLLOUT_STEPS)]
        done = 1 + choice[1] % (steps - 1)
        times = schedule(steps, self.sampler.start, end=0.0)
        met: list[tuple[Tensor, Tensor]] = []

        def predict(state: Tensor, t: Tensor) -> Tensor:
            met.append((state, t))
            return condition.estimate if len(met) > done else self.model(state, t, condition)

        start = bridge.warm_start(
            condition.estimate,
            condition.mixture,
            self.sampler.start,
            self._noise_like(condition.mixture, generator),
        )
        kind: BridgeKind = "sde" if choice[2] % 4 == 0 else "ode"
        sample_bridge(
            predict,
            start,
            condition.mixture,
            bridge,
            times[: done + 2],
            lambda index: self._noise_like(start, generator),
            kind,
        )
        return met[-1]

    def validate(self, batch: Mixture) -> dict[str, float]:
        """Measures at the configured steps and of Extract alone.

        For comparison one step, and the same steps without latents, on the first mixtures alone, ``few_`` with.
        """
        steps, few = self.sampler.steps, slice(COMPARED_MIXTURES)
        sampled, first = self._sample(batch.mixture, steps), batch[few]
        compared = (
            ("", sampled, batch),
            ("extract_", self._sample(batch.mixture, 0), batch),
            ("few_", sampled[few], first),
            ("one_", self._sample(first.mixture, 1), first),
            ("dropped_", self._sample(first.mixture, steps, use_latents=False), first),
        )
        return {
            f"{label}{name}": value
            for label, spectra, mixtures in compared
            for name, value in self._measures(spectra, mixtures, by_ear=not label).items()
        }

    def score(self, batch: Mixture) -> float:
        """The measure that weights are chosen by, of the whole way at the configured steps."""
        return self._measures(self._sample(batch.mixture, self.sampler.steps), batch)["score"]

    def _measures(self, spectra: Tensor, batch: Mixture, by_ear: bool = True) -> dict[str, float]:
        objective = replace(self.objective, by_ear=self.objective.by_ear and by_ear)
        return validation_measures(spectra, batch, self.spectral, objective)

    def _sample(self, mixture: Tensor, steps: int, use_latents: bool = True) -> Tensor:
        """Spectra that a sampler of so many steps gives for waveforms; of none, Extract's estimates."""
        sampler, outputs = replace(self.sampler, steps=steps), []
        for index, part in enumerate(torch.split(mixture, VALIDATION_ROWS)):
            spectrum = self.to_spectrum(part)
            extraction = self.extract(spectrum)
            if steps == 0:
                outputs.append(extraction.estimate)
                continue
            seeds = [index * VALIDATION_ROWS + row for row in range(len(part))]
            noise = seeded_noise(seeds, (spectrum.shape[1], spectrum.shape[2]), spectrum.device)
            keep = torch.full((len(part),), use_latents, device=spectrum.device)
            outputs.append(generate(self.model, spectrum, extraction, sampler, noise, keep))
        return torch.cat(outputs)


def sampler_config(process: str, noise_scale: float | None, estimate: bool = True) -> SamplerConfig:
    """What to train for; :class:`UsageError` for a process that there is not.

    Without the ``estimate`` there is nothing to start from but the mixture.
    """
    noise_scale = SamplerConfig.noise_scale if noise_scale is None else noise_scale
    if process == "bridge":
        return SamplerConfig(noise_scale=noise_scale, start=SamplerConfig.start if estimate else 1.0)
    if process == "ouve":
        return SamplerConfig(process="ouve", noise_scale=noise_scale, steps=30, start=1.0)
    raise UsageError(f"--process {process}: there is bridge and ouve")
