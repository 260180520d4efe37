"""exdiff: cleans archives of recordings with a separator that extracts and a diffusion model that restores."""

__version__ = "0.1.0"
