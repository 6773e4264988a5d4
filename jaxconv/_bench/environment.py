"""What a committed figure must be read with."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .._algorithms._onednn import ISA_VARIABLES
from .._machine import cores, processor, version
from .device import Device, mine

PACKAGE = Path(__file__).parent.parent
THREADS = ("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS", "JAX_PLATFORMS", *ISA_VARIABLES)
MEMORY = ("GLIBC_TUNABLES", "LD_PRELOAD")  # how large arrays are allotted, by which malloc


def environment(device: Device | None = None) -> dict[str, str | int | None]:
    """Commit, versions, processor, the cores this process may use, what else decides how many threads there are, which
    kernels they run and how memory is allotted; the device, by default the one that this process uses."""
    device = device or mine()
    return {
        **software(),
        "platform": device.platform,
        "device": device.kind,
        "threads": _given(THREADS),
        "memory": _given(MEMORY),
    }


def _given(names: Sequence[str]) -> str:
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ) or "default"


def software() -> dict[str, str | int | None]:
    """What of that can be told without asking JAX for its devices."""
    return {
        "commit": commit(),
        "source": source(),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy", "torch")},
        "python": platform.python_version(),
        "processor": processor(),
        "cores": cores(),
    }


def commit() -> str:
    """The last commit that changed the package, with "-dirty" for changes since; its version where it is in none.

    Not the last one of the repository: results are committed there while nothing that they depend on changes.
    """
    last = _git("log", "-1", "--format=%h", "--", ".")
    if not last:
        return f"version {version('jaxconv')}"
    return last + ("-dirty" if _git("status", "--porcelain", "--", ".") else "")


def source() -> str:
    """Digest of the library's code, which tells changes apart that are in no commit."""
    code = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in ("_bench", "_command", "_demo", "testing", "__main__.py"):
            code.update(path.read_bytes())
    return code.hexdigest()[:12]


def _git(*arguments: str) -> str:
    """What git prints, "" where there is none or it knows nothing of the package."""
    try:
        run = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True)
    except OSError:
        return ""
    return run.stdout.strip()
