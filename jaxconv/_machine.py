"""What measured times hold for: device, versions, threads."""

import importlib.metadata
import os
import platform as system
import subprocess
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax

CPUINFO = Path("/proc/cpuinfo")
# In it, and what we call them; x86 has the first two, ARM the others.
IDENTITY = {"cpu family": "family", "model": "model", "CPU implementer": "implementer", "CPU part": "part"}
BRAND = ("sysctl", "-n", "machdep.cpu.brand_string")


def cores() -> int:
    """Those this process may use: as many as NPROC says, which XLA goes by, or all that the system lets it have."""
    said = os.environ.get("NPROC", "")
    if said.isdecimal() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> str:
    """Its name as the system gives it, and what tells it from others that are called the same."""
    if CPUINFO.exists():
        known = [(name, words) for field, name in IDENTITY.items() if (words := _of_first_core(field))]
        details = ", ".join(map(" ".join, known))
        name = _of_first_core("model name") or system.machine()
        return f"{name} ({details})" if details else name
    with suppress(OSError, subprocess.SubprocessError):  # where there is a sysctl that knows it, as on a Mac
        said = subprocess.run(BRAND, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        return said or system.machine()
    return system.processor() or system.machine()


@cache
def processor_flags() -> frozenset[str]:
    """The instruction sets it has, by Linux's names; none where the system does not tell."""
    return frozenset(_of_first_core("flags").split()) if CPUINFO.exists() else frozenset()


def _of_first_core(field: str) -> str:
    """What Linux says of it, "" for nothing."""
    lines = (line.partition(":") for line in CPUINFO.read_text().splitlines())
    return next((words.strip() for name, _, words in lines if name.strip() == field), "")


@cache
def version(package: str) -> str | None:
    """As installed, None if it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def platform() -> str:
    """That of the default device, by the name that programs are compiled for: "cpu", "cuda", "rocm", "tpu"."""
    name = jax.default_backend()
    if name != "gpu":
        return name
    try:  # both kinds call themselves that
        jax.devices("cuda")
    except RuntimeError:
        return "rocm"
    return "cuda"


def having(dtypes: Iterable[str]) -> AbstractContextManager:
    """A context in which JAX has these types: those of 64 bits are to be switched on."""
    return jax.enable_x64(True) if {"float64", "complex128", "int64", "uint64"} & set(dtypes) else nullcontext()


def conditions() -> dict[str, Any]:
    """Those under which measured times, and so a choice made by them, can be expected again."""
    device = jax.devices()[0]
    versions = {package: version(package) or "" for package in ("jaxconv", "jax", "jaxlib")}
    if device.platform == "cpu":
        return {"platform": "cpu", "device": processor(), "threads": cores(), **versions}
    return {"platform": device.platform, "device": device.device_kind, **versions}
