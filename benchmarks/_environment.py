"""What a committed figure must be read with."""

import os
import platform
import subprocess
from pathlib import Path

import jax


def environment() -> dict[str, str | int | None]:
    """Commit, versions, processor and the cores this process may use."""
    here = Path(__file__).parent
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return {
        "commit": commit.stdout.strip(),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": jax.devices()[0].device_kind,
    }


def processor() -> str:
    """Its name as the system gives it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        names = [
            line.split(":", 1)[1].strip() for line in table.read_text().splitlines() if line.startswith("model name")
        ]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()
