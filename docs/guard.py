"""What the guard's limits rest on, as Markdown: python docs/guard.py VALID, which `exdiff train validation` wrote.

Each mixture, its clean speech and its noise alone go through the shipped models with the guard off and on. Prints how
far samples are from Extract's estimate in each frame, and what is left of that behind the guard.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.bundle import load_bundle
from exdiff_cli.enhancer import Enhancer, Piece, seed_of_draw, segment_seed
from exdiff_cli.guard import Reason, strangeness
from exdiff_cli.measures.activity import activity
from exdiff_cli.measures.talk import SPOKEN
from exdiff_cli.settings import DEFAULT_BUNDLE, OnRisk, Settings

MIXTURES = 60
"""Taken evenly from the whole set, so that all its noises are among them."""

DRAWS = 3

PERCENTILES = (50, 90, 99, 99.9, 100)


def read(valid: Path) -> Iterator[tuple[str, Samples, int]]:
    """Kind, signal and seed."""
    paths = sorted((valid / "noisy").iterdir())
    for path in paths[:: max(1, len(paths) // MIXTURES)][:MIXTURES]:
        noisy, clean = read_mono(path), read_mono(valid / "clean" / path.name)
        seed = segment_seed(file_sha256(path), 0, 0, 0)
        yield from (("clean speech", clean, seed), ("noisy speech", noisy, seed), ("noise alone", noisy - clean, seed))


def draws(enhancer: Enhancer, signal: Samples, seed: int) -> list[Samples]:
    """Samples from other seeds."""
    return [enhancer([Piece(signal, len(signal), seed_of_draw(seed, draw))])[0] for draw in range(1, DRAWS)]


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


def main(valid: Path) -> None:
    bundle = load_bundle(DEFAULT_BUNDLE)
    settings = Settings(bundle.sampler)
    choices = {
        "Extract": replace(settings, sampler=replace(bundle.sampler, steps=0)),
        "sample": replace(settings, on_risk=OnRisk.FLAG),
        "guarded": settings,
    }
    enhancers = {name: Enhancer(bundle, chosen, torch.device("cpu")) for name, chosen in choices.items()}
    apart: dict[tuple[str, Reason, str], list[float]] = defaultdict(list)
    spoken: dict[tuple[str, str], list[float]] = defaultdict(list)
    taken: dict[str, list[float]] = defaultdict(list)
    for kind, signal, seed in read(valid):
        piece = Piece(signal, len(signal), seed)
        speech = enhancers["guarded"].speech(piece)
        made = {name: enhancer([piece])[0] for name, enhancer in enhancers.items()}
        others = {"sample": draws(enhancers["sample"], signal, seed), "guarded": []}
        for name in others:
            found = strangeness(signal, made["Extract"], made[name], speech, others[name]).by_reason()
            for reason, frames in found.items():
                if not np.isnan(frames).all():
                    apart[kind, reason, name] += frames[~np.isnan(frames)].tolist()
        for name, each in {"input": signal, **made}.items():
            spoken[kind, name].append(float((activity(each) >= SPOKEN).mean()))
        taken[kind].append(float((made["guarded"] != made["sample"]).mean()))
    print_row("dB", "", "", "frames", *(f"{percent} %" for percent in PERCENTILES))
    print_row(*["---"] * (4 + len(PERCENTILES)))
    for (kind, reason, name), values in apart.items():
        print_row(kind, reason, name, len(values), *(f"{each:.1f}" for each in np.percentile(values, PERCENTILES)))
    print()
    names = ("input", *choices)
    print_row("share of frames that sound like speech", *names, "taken from Extract")
    print_row(*["---"] * (2 + len(names)))
    for kind, shares in taken.items():
        print_row(kind, *(f"{np.mean(spoken[kind, name]):.3f}" for name in names), f"{np.mean(shares):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
