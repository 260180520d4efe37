"""What figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from exdiff_cli import __version__
from exdiff_cli.text import printable

CPU_INFO = Path("/proc/cpuinfo")
MEBIBYTE = 1 << 20


def describe_machine(device: str) -> dict[str, object]:
    """Processor, cores, threads, memory and versions; ``device_name`` is the GPU's, or the processor's."""
    processor = processor_name()
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEBIBYTE,
        "system": f"{platform.system()} {platform.machine()}",
        "torch": str(torch.__version__),
        "exdiff": __version__,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else processor,
    }


def processor_name() -> str:
    """As the kernel names it, otherwise as Python does."""
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return printable(next(filter(None, [*names, platform.processor(), platform.machine()]), "unknown"))
