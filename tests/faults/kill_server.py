"""Runs, one after the other, each in a process forked from this one, so that none has to load anything first.

Reads an output folder a line; answers with the process's number, and its exit code (negative: the signal) at its end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from bundles import short_settings

from exdiff_cli.bundle import load_bundle
from exdiff_cli.engine import enhance_all
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.settings import Resources


def main(bundle_folder: str, source: str, batch: str) -> None:
    torch.set_num_threads(1)  # threads would not survive a fork
    setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])  # noqa: B010
    bundle = load_bundle(bundle_folder)
    settings, resources = short_settings(bundle, steps=1), Resources(batch=int(batch))
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(enhance_all([Path(source)], Path(line.rstrip("\n")), bundle, settings, resources).exit_code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
