"""Memory of this process as the system sees it."""

import ctypes
import gc
import resource
import sys
from pathlib import Path


def start_over() -> None:
    """Give back what is free and forget the peak so far, where the system can (Linux)."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (AttributeError, OSError):
        pass


def peak_bytes() -> int:
    """Most that was resident, since `start_over` on Linux, else since the process began."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
