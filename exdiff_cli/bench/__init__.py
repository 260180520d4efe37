"""Honest figures of a whole run: how fast, by stage, on how much work, and against what."""

from exdiff_cli.bench.run import run_bench

__all__ = ["run_bench"]
