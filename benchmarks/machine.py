"""The machine in words, without its name."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def _first(path: Path, pattern: str) -> str | None:
    if not path.exists():
        return None
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    return found.group(1).strip() if found else None


def describe() -> str:
    """Cores, processor, vector instructions and memory, as far as the system provides them."""
    cpu_file = Path("/proc/cpuinfo")
    model = _first(cpu_file, r"^model name\s*:\s*(.+)$") or platform.processor() or "processor"
    flags = _first(cpu_file, r"^flags\s*:\s*(.+)$") or ""
    memory = _first(Path("/proc/meminfo"), r"^MemTotal:\s*(\d+) kB")
    words = [f"{os.cpu_count()} cores of {model}"]
    if "avx512f" in flags.split():
        words.append("AVX-512")
    if memory:
        words.append(f"{int(memory) / 2**20:.0f} GiB")
    return ", ".join([*words, platform.system()])


def load() -> float | None:
    """Mean number of running processes over the last minute, where the system counts them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
