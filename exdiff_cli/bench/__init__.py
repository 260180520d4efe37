"""Honest figures of a whole run: how fast, by stage, on how much work, and against what."""

from exdiff_cli.bench.archive import MadeArchive
from exdiff_cli.bench.run import Run, measure_made, run_bench

__all__ = ["MadeArchive", "Run", "measure_made", "run_bench"]
