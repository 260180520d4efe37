"""On-the-fly mixtures: no two batches are alike, and each follows from (audio, recipe, seed, step) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from exdiff_cli.audio.spectral import LEVEL_RMS
from exdiff_cli.training import synthesis
from exdiff_cli.training.pool import Pool
from exdiff_cli.training.synthesis import Draw, unit_level

SINC_TAPS = 16
FAINTEST_SNR = 90.0
GENERATED = {
    "coloured": synthesis.coloured_noise,
    "machine": synthesis.machine_noise,
    "impacts": synthesis.impacts,
    "rumble": synthesis.rumble,
}


@dataclass(frozen=True)
class Recipe:
    """What the mixtures vary, as shares of the examples and ranges."""

    seconds: float = 2.0
    sample_rate: int = 16_000
    snr: tuple[float, float] = (-5.0, 25.0)
    speech_speed_share: float = 0.6
    speech_speed: tuple[float, float] = (0.75, 1.2)
    colour_share: float = 0.5
    colour_decibels: float = 4.0
    drift_share: float = 0.3
    noise_speed: tuple[float, float] = (0.6, 1.6)
    room_share: float = 0.3
    generated_share: float = 0.4
    babble_share: float = 0.1
    texture_share: float = 0.15
    second_noise_share: float = 0.4
    telephone_share: float = 0.15
    noise_only_share: float = 0.06
    clean_share: float = 0.1
    dropout_share: float = 0.05
    silence_share: float = 0.2
    generators: tuple[str, ...] = tuple(GENERATED)

    @property
    def samples(self) -> int:
        return int(self.seconds * self.sample_rate)


@dataclass(frozen=True)
class Mixture:
    """``mixture`` and its ``speech``, ``(batch, samples)`` float32; the rest of the mixture is its noise."""

    mixture: Tensor
    speech: Tensor

    @property
    def noise(self) -> Tensor:
        return self.mixture - self.speech

    def to(self, device: torch.device) -> Mixture:
        return Mixture(self.mixture.to(device), self.speech.to(device))

    def __getitem__(self, rows: slice) -> Mixture:
        return Mixture(self.mixture[rows], self.speech[rows])


def read_windows(pool: Pool, starts: Tensor, speed: Tensor, samples: int) -> Tensor:
    """Read windows that begin at ``starts`` at another ``speed``, by windowed-sinc interpolation.

    ``starts`` and ``speed`` are ``(count,)``; reading wraps at the pool's end. A speed above one raises pitch
    and tempo together, and the sinc is widened then so that little folds back. Returns float32
    ``(count, samples)``, about within [-1, 1].
    """
    position = torch.arange(samples, device=starts.device, dtype=torch.float64) * speed[:, None].double()
    whole = position.floor()
    fraction = (position - whole).float()
    cutoff = speed.clamp_min(1).reciprocal()[:, None]
    total = torch.zeros(len(starts), samples, device=starts.device)
    base = whole.long() + starts[:, None]
    for tap in range(-SINC_TAPS // 2 + 1, SINC_TAPS // 2 + 1):
        distance = fraction - tap
        weight = cutoff * torch.sinc(distance * cutoff) * torch.cos(distance * (math.pi / (SINC_TAPS + 2))).square()
        total += weight * pool.samples[(base + tap) % len(pool.samples)]
    return total / 32768


def plain_windows(pool: Pool, starts: Tensor, samples: int) -> Tensor:
    """Like :func:`read_windows` at a speed of one, by plain indexing."""
    index = starts[:, None] + torch.arange(samples, device=starts.device)
    return pool.samples[index % len(pool.samples)].float() / 32768


def draw_speech(draw: Draw, pool: Pool, recipe: Recipe, count: int) -> Tensor:
    """Windows of talk, part of them at another speed, ``(count, samples)``."""
    starts = draw.integers(count, len(pool.samples))
    changed = draw.chance(count, recipe.speech_speed_share)
    speech = plain_windows(pool, starts, recipe.samples)
    if changed.any():
        low, high = recipe.speech_speed
        speed = draw.uniform(int(changed.sum()), low=low, high=high)
        speech[changed] = read_windows(pool, starts[changed], speed, recipe.samples)
    return speech


def real_noise(draw: Draw, pool: Pool, recipe: Recipe, count: int) -> Tensor:
    """Windows of recorded noise, each recording equally likely, with another speed and equalisation."""
    clip = draw.integers(count, len(pool.starts))
    offset = (draw.uniform(count) * pool.lengths[clip]).long()
    low, high = recipe.noise_speed
    # A window that begins near a recording's end goes on into the next one, which is just a change of scene.
    noise = read_windows(pool, pool.starts[clip] + offset, draw.uniform(count, low=low, high=high), recipe.samples)
    return unit_level(synthesis.equalise(draw, noise, 4.0))


def babble(draw: Draw, pool: Pool, recipe: Recipe, count: int) -> Tensor:
    """Several voices at once, in a room."""
    voices = 3 + int(draw.integers(1, 5))
    talk = unit_level(draw_speech(draw, pool, recipe, count * voices)).view(voices, count, -1)
    gains = draw.log_uniform(voices, count, 1, low=0.3, high=1)
    response, _ = synthesis.room_responses(draw, count)
    return unit_level(synthesis.fft_convolve((talk * gains).sum(0), response))


def texture(draw: Draw, speech: Pool, noise: Pool, recipe: Recipe, count: int) -> Tensor:
    """Halls, crowds and traffic from afar: talk or a recording, slowed or hurried, half of it backwards, smeared."""
    speed = draw.log_uniform(count, low=0.4, high=2.5)
    sources = [
        read_windows(pool, draw.integers(count, len(pool.samples)), speed, recipe.samples) for pool in (speech, noise)
    ]
    talk, recording = map(unit_level, sources)
    source = torch.where(draw.chance(count, 0.5)[:, None], talk, recording)
    source = torch.where(draw.chance(count, 0.5)[:, None], source.flip(-1), source)
    return unit_level(synthesis.equalise(draw, synthesis.smear(draw, source), 6.0))


def draw_noise(draw: Draw, speech: Pool, noise: Pool, recipe: Recipe, count: int) -> Tensor:
    """Noise of unit level, ``(count, samples)``: recorded, generated, babble or texture, and sometimes two of them."""
    result = torch.zeros(count, recipe.samples, device=draw.device)
    second = draw.chance(count, recipe.second_noise_share)
    for rows in (torch.arange(count, device=draw.device), second.nonzero()[:, 0]):
        result[rows] += _one_noise(draw, speech, noise, recipe, len(rows)) * draw.log_uniform(
            len(rows), 1, low=0.3, high=1.0
        )
    return unit_level(result)


def _one_noise(draw: Draw, speech: Pool, noise: Pool, recipe: Recipe, count: int) -> Tensor:
    result = torch.zeros(count, recipe.samples, device=draw.device)
    kind = draw.uniform(count)
    generator = draw.integers(count, len(recipe.generators))
    is_babble = kind < recipe.babble_share
    is_generated = ~is_babble & (kind < recipe.babble_share + recipe.generated_share)
    others = recipe.babble_share + recipe.generated_share
    is_texture = (kind >= others) & (kind < others + recipe.texture_share)
    is_real = ~is_babble & ~is_generated & ~is_texture
    if is_babble.any():
        result[is_babble] = babble(draw, speech, recipe, int(is_babble.sum()))
    if is_real.any():
        result[is_real] = real_noise(draw, noise, recipe, int(is_real.sum()))
    for index, name in enumerate(recipe.generators):
        rows = is_generated & (generator == index)
        if rows.any():
            result[rows] = GENERATED[name](draw, int(rows.sum()), recipe.samples)
    if is_texture.any():
        result[is_texture] = texture(draw, speech, noise, recipe, int(is_texture.sum()))
    return result


def through_microphones(draw: Draw, speech: Tensor, recipe: Recipe) -> Tensor:
    """Colour some rows as other microphones would: the target keeps that too, as it is no noise."""
    coloured = draw.chance(len(speech), recipe.colour_share)[:, None]
    return torch.where(coloured, synthesis.equalise(draw, speech, recipe.colour_decibels), speech)


def with_drift(draw: Draw, speech: Tensor, share: float) -> Tensor:
    """Let the level of some rows drift, as where a talker turns away: faint words beside loud ones."""
    if not share:  # Nothing is drawn, so that sets of mixtures without it stay as they are.
        return speech
    drifting = draw.chance(len(speech), share)[:, None]
    return torch.where(drifting, speech * synthesis.modulation(draw, *speech.shape), speech)


def mute_part(draw: Draw, speech: Tensor, share: float) -> Tensor:
    """Silence a leading or trailing stretch of some rows: talk begins late or ends early."""
    count, samples = speech.shape
    time = torch.arange(samples, device=speech.device)[None] / samples
    edge = draw.uniform(count, 1, low=0.1, high=0.7)
    leading = draw.chance(count, 0.5)[:, None]
    keep = torch.where(leading, time > edge, time < 1 - edge)
    return torch.where(draw.chance(count, share)[:, None] & ~keep, torch.zeros_like(speech), speech)


def noise_gain(draw: Draw, recipe: Recipe, count: int) -> Tensor:
    """Level of the noise against the talk, ``(count, 1)``; some recordings are clean, half of them quite."""
    gain = 10 ** (-draw.uniform(count, 1, low=recipe.snr[0], high=recipe.snr[1]) / 20)
    if not recipe.clean_share:  # Nothing is drawn, so that sets of mixtures without it stay as they are.
        return gain
    faint = 10 ** (-draw.uniform(count, 1, low=recipe.snr[1], high=FAINTEST_SNR) / 20)
    faint = faint * draw.chance(count, 0.5)[:, None]
    return torch.where(draw.chance(count, recipe.clean_share)[:, None], faint, gain)


def drop_part(draw: Draw, mixture: Tensor, speech: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Let nothing at all arrive for a stretch of some rows, as where a recorder or a line puts digital silence."""
    if not share:
        return mixture, speech
    arrives = mute_part(draw, torch.ones_like(mixture), share)
    return mixture * arrives, speech * arrives


def in_rooms(draw: Draw, speech: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Put some rows into a room; return what the microphone hears and the target, its early sound alone."""
    rows = draw.chance(len(speech), share)
    heard, target = speech.clone(), speech.clone()
    if rows.any():
        response, early = synthesis.room_responses(draw, int(rows.sum()))
        heard[rows] = synthesis.fft_convolve(speech[rows], response)
        target[rows] = synthesis.fft_convolve(speech[rows], early)
    return heard, target


def over_telephone(draw: Draw, mixture: Tensor, speech: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Send some rows over a telephone: both are band-limited, the mixture is also quantised by mu-law."""
    rows = draw.chance(len(mixture), share)
    if not rows.any():
        return mixture, speech
    samples = mixture.shape[-1]
    band = synthesis.telephone_band(draw, int(rows.sum()), samples)
    mixture, speech = mixture.clone(), speech.clone()
    for signal in (mixture, speech):
        signal[rows] = torch.fft.irfft(torch.fft.rfft(signal[rows]) * band, samples)
    peak = mixture[rows].abs().amax(-1, keepdim=True).clamp_min(1e-6) * 1.1
    mixture[rows] = synthesis.mu_law(mixture[rows] / peak) * peak
    return mixture, speech


def active_level(speech: Tensor, frame: int = 512) -> Tensor:
    """RMS over the frames in which someone talks, ``(batch, 1)``: those within 30 dB of the loudest."""
    frames = speech[:, : speech.shape[-1] // frame * frame].reshape(len(speech), -1, frame).square().mean(-1)
    active = (frames > 1e-3 * frames.amax(-1, keepdim=True)).float()
    return ((frames * active).sum(-1, keepdim=True) / active.sum(-1, keepdim=True).clamp_min(1)).sqrt()


def level_gain(signal: Tensor) -> Tensor:
    """What brings rows to the level that the networks work at, ``(batch, 1)``."""
    return LEVEL_RMS / signal.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


def mix(speech_pool: Pool, noise_pool: Pool, recipe: Recipe, count: int, seed: int, step: int) -> Mixture:
    """Make ``count`` mixtures; the same arguments always give the same batch on the same device."""
    device = speech_pool.samples.device
    draw = Draw(torch.Generator(device).manual_seed(seed * 1_000_003 + step), recipe.sample_rate)
    dry = draw_speech(draw, speech_pool, recipe, count)
    dry = through_microphones(draw, dry, recipe)
    dry = with_drift(draw, dry, recipe.drift_share)
    dry = mute_part(draw, dry, recipe.silence_share)
    heard, target = in_rooms(draw, dry, recipe.room_share)
    level = active_level(heard).clamp_min(1e-4)
    audible = (~draw.chance(count, recipe.noise_only_share)).float()[:, None]
    noise = draw_noise(draw, speech_pool, noise_pool, recipe, count)
    noise = noise * noise_gain(draw, recipe, count)
    heard, target = heard / level * audible, target / level * audible
    mixture, target = over_telephone(draw, heard + noise, target, recipe.telephone_share)
    mixture, target = drop_part(draw, mixture, target, recipe.dropout_share)
    gain = level_gain(mixture)
    return Mixture(mixture * gain, target * gain)
