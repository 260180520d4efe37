"""What several commands share: their options, and how these become settings."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from exdiff_cli import logs
from exdiff_cli.errors import UsageError
from exdiff_cli.logs import NOTICE, LogFormat
from exdiff_cli.settings import PRESET_STEPS, SPEECH, Precision, Resources, Settings

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from exdiff_cli.bundle import Bundle
    from exdiff_cli.diffuse.generate import SamplerConfig
    from exdiff_cli.presets import NetConfig

Config = TypeVar("Config", "SamplerConfig", "NetConfig")

MOST_AN_HOUR = 1e9

BundleOption = Annotated[str, typer.Option("--bundle", help="Model bundle: a name or a folder.")]
StepsOption = Annotated[int | None, typer.Option(help="Diffusion steps; 0 is Extract alone. (default: the bundle's)")]
PresetOption = Annotated[
    str | None, typer.Option(help="fast, balanced or best, in place of --steps. (default: balanced)")
]
QueryOption = Annotated[
    str, typer.Option(help="What to take out: speech, noise (all the rest), or what sounds like a folder of examples.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DevicesOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, or several at once: cuda:0,cuda:1.")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="What the networks compute in; bf16 is for GPUs, int8 for CPUs; both change results a little."),
]
RateOption = Annotated[float, typer.Option("--learning-rate", help="Peak learning rate.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the mixtures.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Mixtures a batch.")]


def be_quiet(quiet: bool) -> bool:
    """Applied as the option is read, as are the next two, so that it holds for whatever is told after."""
    logs.adjust(quiet=quiet)
    return quiet


def be_verbose(verbose: int) -> int:
    logs.adjust(verbose=verbose)
    return verbose


def write_logs(log_format: LogFormat | None) -> LogFormat | None:
    logs.adjust(log_format=log_format)
    return log_format


QuietOption = Annotated[bool, typer.Option("-q", "--quiet", callback=be_quiet, help="Print failures only.")]
VerboseOption = Annotated[
    int,
    typer.Option(
        "-v", "--verbose", count=True, callback=be_verbose, help="Tell of each recording, and how far; -vv for more."
    ),
]
LogFormatOption = Annotated[
    LogFormat | None, typer.Option(callback=write_logs, help="How lines on stderr are written. (default: text)")
]


def parse_batch(text: str) -> int | None:
    """A number of segments; None for ``auto``."""
    if text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        raise typer.BadParameter(f"{text!r} is neither auto nor a number greater than or equal to 1")
    return int(text)


SegmentsOption = Annotated[
    int | None,
    typer.Option(
        "--batch",
        parser=parse_batch,
        metavar="N|auto",
        help="Segments a batch; changes memory, and a result by rounding. auto is 1 on the CPU, and on a GPU what its "
        "memory holds, up to 32. (default: auto)",
    ),
]
GraceOption = Annotated[str, typer.Option(help="Time for what is in hand after SIGINT or SIGTERM.")]
LockWaitOption = Annotated[
    str | None, typer.Option(help="Wait so long, 10m, while another run holds the output folder.")
]
MaxHoursOption = Annotated[float, typer.Option(min=0, help="Longer recordings fail: they are mistakes.")]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")]


def use_threads(count: int) -> int:
    """Set torch's CPU threads as the option is read, so that no command has to."""
    if count:
        import torch

        torch.set_num_threads(count)
    return count


ThreadsOption = Annotated[
    int,
    typer.Option(
        min=0,
        callback=use_threads,
        help="CPU threads; 0 takes one for each core. Up to 8 segments are enhanced side by side.",
    ),
]


def say(message: str) -> None:
    """One line to stderr, unless only failures are wanted."""
    log.log(NOTICE, message)


def choose_device(name: str) -> str:
    """Resolve ``auto``; :class:`UsageError` for a device that is not there, and for several."""
    if "," in name:
        raise UsageError(f"--device {name}: only enhance, retry and doctor can use several; give one of them")
    return choose_devices(name)


def choose_devices(names: str) -> str:
    """The same for several with commas between; :class:`UsageError` where they cannot work together."""
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if names == "auto":
        return "cuda" if there else "cpu"
    devices = [name.strip() for name in names.split(",")]
    for name in devices:
        if name != "cpu" and not (re.fullmatch(r"cuda(:\d+)?", name) and int(name[5:] or 0) < there):
            known = f"cpu or cuda:0 to cuda:{there - 1}" if there else "cpu"
            raise UsageError(f"--device {names}: {name or 'an empty name'} is not available here; use {known}")
    if devices.count("cpu") > 1:
        raise UsageError(f"--device {names}: names the CPU twice; name it once, and give --threads")
    gpus = [int(name[5:] or 0) for name in devices if name != "cpu"]
    if len(set(gpus)) < len(gpus):
        raise UsageError(f"--device {names}: names a GPU twice, which would share its memory; name it once")
    if gpus and len(gpus) < len(devices):
        raise UsageError(f"--device {names}: a CPU would hold the GPU up; leave cpu out")
    return ",".join(devices)


def choose_resources(devices: str, batch: int | None) -> Resources:
    """What suits the devices, as :func:`choose_devices` takes them, and the threads that there are."""
    import torch

    return Resources.on(choose_devices(devices), batch, torch.get_num_threads())


def change(config: Config, **values: float | None) -> Config:
    """A config with those values that are given."""
    return replace(config, **{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]


def check_price(price_per_hour: float | None) -> None:
    """:class:`UsageError` for what no cost can be reckoned with."""
    if price_per_hour is not None and not 0 <= price_per_hour <= MOST_AN_HOUR:
        raise UsageError(f"--price-per-hour {price_per_hour:g}: give what an hour costs, 0 to {MOST_AN_HOUR:g}")


def preset_steps(preset: str | None, steps: int | None) -> int | None:
    """The steps that were asked for, by name or by number; :class:`UsageError` for both, or for no such name."""
    if preset is None:
        return steps
    if steps is not None:
        raise UsageError(f"--preset {preset} --steps {steps}: a preset is a number of steps; give one of the two")
    if preset not in PRESET_STEPS:
        raise UsageError(f"--preset {preset}: there is {', '.join(PRESET_STEPS)}")
    return PRESET_STEPS[preset]


def make_settings(bundle: Bundle, steps: int | None = None, query: str = SPEECH, **others: Any) -> Settings:
    """The bundle's sampler with what was asked for; whatever is not speech is for Extract alone."""
    if steps is None and query != SPEECH:
        steps = 0
    return Settings(change(bundle.sampler, steps=steps), query=query, **others)
