"""`jaxconv env`: what a report of a bug, or a figure that is cited, has to say of where it comes from."""

import argparse
import os
import platform
import warnings
from typing import Any

import jax

from .._algorithms import _onednn
from .._bench.device import NO_DEVICE, lack
from .._bench.environment import MEMORY, THREADS, software
from .._default_plan import default_plan_path
from .._machine import version
from .._plan import Plan
from .._plan_file import PlanError
from .command import Command, add_json, print_json, quantity

PREFIXES = ("JAX_", "XLA_", "CUDA_", "LIBTPU_")


def add_options(parser: argparse.ArgumentParser) -> None:
    """How to print it."""
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print it. Returns 0."""
    content = described()
    if options.json:
        print_json(content)
        return 0
    width = max(map(len, content))
    for name, value in content.items():
        words = value if not isinstance(value, dict) else ", ".join(f"{key}={part}" for key, part in value.items())
        print(f"{name:{width}}  {'-' if words in (None, '') else words}")
    return 0


def described() -> dict[str, Any]:
    """Versions, machine, devices, environment, plan. What cannot be told says why, in the place where it would be."""
    names = (*THREADS, *MEMORY)
    given = {name: value for name, value in sorted(os.environ.items()) if name in names or name.startswith(PREFIXES)}
    machine = {"system": platform.platform(), **_devices(), "onednn": _onednn.lack() or "used", "environment": given}
    return {"jaxconv": version("jaxconv"), **software(), **machine, **_default_plan()}


def _devices() -> dict[str, Any]:
    if reason := lack():
        return {"platform": None, "device": reason, "devices": 0}
    devices = jax.devices()
    return {"platform": devices[0].platform, "device": devices[0].device_kind, "devices": len(devices)}


def _default_plan() -> dict[str, Any]:
    """Where it is, and whether it can be used here."""
    try:
        path = default_plan_path()
    except ImportError as error:  # without the tools
        return {"cache": None, "plan": str(error)}
    except NO_DEVICE:
        return {"cache": None, "plan": lack()}
    if not path.exists():
        return {"cache": str(path.parent), "plan": "none"}
    with warnings.catch_warnings(record=True) as refused:
        warnings.simplefilter("always")
        try:
            found = f"{quantity(len(Plan.load(path).convolutions), 'convolution')} in {path.name}"
        except (PlanError, OSError) as error:
            found = str(error)
    return {"cache": str(path.parent), "plan": "; ".join([*(str(each.message) for each in refused), found])}


COMMAND = Command(
    "versions, device and settings: for reports of bugs and with figures", (), add_options, run, device=False
)
