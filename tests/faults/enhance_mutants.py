"""Enhances mutated recordings in a process of its own, whose crash or hang is then seen by who started it.

Arguments: a bundle, a work folder, how many, a seed. A line is printed for each recording before it is begun, and one
with the counts at the end.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import sys
from collections import Counter
from pathlib import Path

import torch
from bundles import short_settings
from mutate import make_every_format, mutate

from exdiff_cli.bundle import load_bundle
from exdiff_cli.engine import RunOptions, enhance_all
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.settings import Resources

MEMORY = 6 << 30
AT_ONCE = 25


def main(bundle_folder: str, work: str, count: str, seed: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])  # noqa: B010
    bundle, draw, folder = load_bundle(bundle_folder), random.Random(int(seed)), Path(work)
    settings = short_settings(bundle, steps=0)
    sources = make_every_format(folder / "sources")
    ends: Counter[str] = Counter()
    for first in range(0, int(count), AT_ONCE):
        mutants, out = folder / "mutants", folder / "out"
        mutants.mkdir()
        names = {}
        for number in range(first, min(first + AT_ONCE, int(count))):
            source = draw.choice(sources)
            mutate(source, mutants / f"{number}{source.suffix}", draw)
            names[number] = source.name
        before = {path: path.read_bytes() for path in mutants.iterdir()}
        print(json.dumps({"begun": names}), flush=True)
        result = enhance_all([mutants], out, bundle, settings, Resources(), options=RunOptions(max_hours=1))
        assert {path: path.read_bytes() for path in mutants.iterdir()} == before
        ends["done"] += result.done_count
        for outcome in result.failed:
            error = str(outcome.error)
            unforeseen = "please report it" in error or "\n" in error
            ends["internal" if unforeseen else "refused"] += 1
            if unforeseen:
                print(json.dumps({"internal": error, "of": names[int(outcome.job.relative.stem)]}), flush=True)
        ends["missing"] += len(before) - result.done_count - len(result.failed)
        shutil.rmtree(mutants)
        shutil.rmtree(out)
    print(json.dumps({"ends": ends}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
