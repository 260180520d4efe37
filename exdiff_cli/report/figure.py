"""Writing figures, without a screen."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from exdiff_cli.errors import UsageError


def save_figure(figure: Figure, target: Path) -> None:
    """Write ``target`` (PNG or SVG by its suffix) and close the figure; :class:`UsageError` where that fails."""
    try:
        figure.savefig(target, dpi=110)
    except (OSError, ValueError) as error:
        raise UsageError(f"{target}: cannot be written ({error}); name a PNG or SVG file elsewhere") from error
    finally:
        plt.close(figure)
