"""Whether exdiff works here: device, libraries, codecs, disk, bundles, and all of it without a network."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import av
import numpy as np
import soundfile
import torch
from rich.table import Table
from rich.text import Text

from exdiff_cli.audio.ffmpeg import CONTAINERS
from exdiff_cli.audio.formats import kept_formats, missing_codecs
from exdiff_cli.bundle import load_bundle
from exdiff_cli.engine import enhance_all
from exdiff_cli.models import list_models
from exdiff_cli.settings import Resources, Settings
from exdiff_cli.text import printable

LITTLE_DISK_BYTES = 1 << 30
TONE_SECONDS = 0.5
INSTALL = "install exdiff again"
NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")


class Verdict(StrEnum):
    """How a check ended; with a problem, exdiff does not work here."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, object]:
        return {"message_type": "check", **asdict(self)}


def examine(folder: Path, bundle: str, device: str) -> Iterator[Check]:
    """Check everything; ``folder`` is where results are to go, ``bundle`` and ``device`` what is to make them."""
    checks: dict[str, Callable[[str], Check]] = {
        "device": lambda name: check_device(name, device),
        "torch": check_torch,
        "codecs": check_codecs,
        "disk": lambda name: check_disk(name, folder),
        "bundles": check_bundles,
        "offline": lambda name: check_offline(name, bundle, device),
    }
    for name, check in checks.items():
        try:
            yield check(name)
        except Exception as error:
            message = str(error) or type(error).__name__
            yield Check(name, Verdict.PROBLEM, message, INSTALL)


def check_device(name: str, device: str) -> Check:
    """Whether it computes what it should; of several with commas between, whether all do."""
    kinds = []
    for each in device.split(","):
        ones = torch.ones(64, 64, device=each)
        if float((ones @ ones).sum()) != 64**3:
            return Check(name, Verdict.PROBLEM, f"{each} does not multiply matrices correctly", "use --device cpu")
        kind = torch.cuda.get_device_name(each) if each != "cpu" else f"{torch.get_num_threads()} threads"
        kinds.append(f"{each} ({kind})")
    return Check(name, Verdict.OK, f"{', '.join(kinds)}, {os.cpu_count()} CPU cores")


def check_torch(name: str) -> Check:
    """Whether torch and torchaudio belong together."""
    import torchaudio

    versions = [version.split("+")[0] for version in (torch.__version__, torchaudio.__version__)]
    found = f"torch {versions[0]}, torchaudio {versions[1]}"
    if versions[0].split(".")[:2] != versions[1].split(".")[:2]:
        return Check(name, Verdict.PROBLEM, found, "install both in the same minor version: " + INSTALL)
    return Check(name, Verdict.OK, found)


def check_codecs(name: str) -> Check:
    """Whether what archives are made of can be read, and what of it can be written."""
    found = f"libsndfile {soundfile.__libsndfile_version__}, PyAV {av.__version__}"
    missing = missing_codecs()
    if missing:
        remedy = f"such recordings will fail; install newer libraries, or {INSTALL}"
        return Check(name, Verdict.WARNING, f"{found} without {', '.join(missing)}", remedy)
    kept = "; ".join(f"{container} ({', '.join(sorted(codecs))})" for container, codecs in kept_formats().items())
    others = ", ".join(sorted((set(soundfile.available_formats()) | set(CONTAINERS.values())) - set(kept_formats())))
    return Check(name, Verdict.OK, f"{found}. Kept: {kept}. Read, and stored as FLAC or WAV: other codecs; {others}")


def check_disk(name: str, folder: Path) -> Check:
    """Whether ``folder``, or what is to hold it, can be written and has room."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        TemporaryFile(dir=place).close()
    except OSError as error:
        remedy = "grant write access, or name another folder with -o"
        return Check(name, Verdict.PROBLEM, f"{place}: cannot be written ({error.strerror})", remedy)
    free = shutil.disk_usage(place).free
    found = f"{place}: {free / 1e9:.1f} GB free"
    if free < LITTLE_DISK_BYTES:
        return Check(name, Verdict.WARNING, found, "results take as much as the originals; make room")
    return Check(name, Verdict.OK, found)


def check_bundles(name: str) -> Check:
    """Whether the weights of every bundle that ships are the files that they should be."""
    models = list_models()
    problems = [model.problem for model in models if model.problem]
    if problems or not models:
        return Check(name, Verdict.PROBLEM, "; ".join(problems) or "none found", INSTALL)
    return Check(name, Verdict.OK, ", ".join(f"{each.name} ({str(each.weights_sha256)[:12]})" for each in models))


def check_offline(name: str, bundle: str, device: str) -> Check:
    """Enhance a generated tone from file to file, while no connection can be made."""
    with TemporaryDirectory() as folder, without_network() as attempts:
        source = Path(folder) / "tone.wav"
        times = np.arange(int(TONE_SECONDS * 16_000)) / 16_000
        soundfile.write(source, 0.1 * np.sin(2 * np.pi * 440 * times), 16_000)
        loaded = load_bundle(bundle)
        resources = Resources(device, batch=1)
        result = enhance_all([source], Path(folder) / "out", loaded, Settings(loaded.sampler), resources)
    if result.failed:
        return Check(name, Verdict.PROBLEM, str(result.failed[0].error), INSTALL)
    if attempts:
        return Check(name, Verdict.PROBLEM, f"something tried to reach the network ({attempts[0]})", "please report it")
    return Check(name, Verdict.OK, f"{TONE_SECONDS} s enhanced with {loaded.name} in {result.seconds:.1f} s")


_forbidding: list[list[str]] = []


@cache
def _watch() -> None:
    """An audit hook cannot be removed: one is enough."""
    sys.addaudithook(_forbid)


def _forbid(event: str, arguments: object) -> None:
    if _forbidding and event in NETWORK_EVENTS:
        _forbidding[-1].append(event)
        raise OSError(f"no network: {event}")


@contextmanager
def without_network() -> Iterator[list[str]]:
    """Let every connection of this process fail; gives the attempts."""
    attempts: list[str] = []
    _watch()
    _forbidding.append(attempts)
    try:
        yield attempts
    finally:
        _forbidding.remove(attempts)


def doctor_table(checks: list[Check]) -> Table:
    """A row a check."""
    table = Table("check", "state", "found", "what to do")
    colours = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}
    for check in checks:
        state = Text(check.verdict.value, style=colours[check.verdict])
        table.add_row(check.name, state, Text(printable(check.found)), Text(printable(check.remedy)))
    return table
