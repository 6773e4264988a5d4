"""Memory of this process as the system sees it, and of its device as JAX does."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


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


def peak_on(device: Any) -> Callable[[], int | None]:
    """A function that tells the most bytes in use on the `jax.Device` since now; on a CPU, those of this process.

    The device counts from the beginning of the process on, so it is None where an earlier peak was higher. None, too,
    where the device does not count.
    """
    if device.platform == "cpu":
        return peak_bytes

    def most() -> int:
        return (device.memory_stats() or {}).get("peak_bytes_in_use", 0)

    before = most()

    def peak() -> int | None:
        after = most()
        return after if after > before else None

    return peak
