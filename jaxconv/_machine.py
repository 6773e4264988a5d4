"""What measured times hold for: device, versions, threads."""

import importlib.metadata
import os
import platform as system
from functools import cache
from pathlib import Path
from typing import Any

import jax


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> str:
    """Its name as the system gives it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        names = [
            line.split(":", 1)[1].strip() for line in table.read_text().splitlines() if line.startswith("model name")
        ]
        return names[0] if names else system.machine()
    return system.processor() or system.machine()


@cache
def processor_flags() -> frozenset[str]:
    """The instruction sets it has, by Linux's names; none where the system does not tell."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split(":", 1)[1].split())


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


def conditions() -> dict[str, Any]:
    """Those under which measured times, and so a choice made by them, can be expected again."""
    device = jax.devices()[0]
    versions = {package: version(package) or "" for package in ("jax", "jaxlib")}
    if device.platform == "cpu":
        return {"platform": "cpu", "device": processor(), "threads": cores(), **versions}
    return {"platform": device.platform, "device": device.device_kind, **versions}
