"""The device that JAX finds: `python -m jaxconv._bench.device` prints it."""

import importlib.util
import json
import os
import subprocess
import sys
from typing import NamedTuple

import jax

from .._machine import platform

NO_DEVICE = (RuntimeError, AssertionError)  # JAX's where it finds none; the latter has no words


class Device(NamedTuple):
    """Platform ("cpu", "cuda", "rocm", "tpu") and kind ("NVIDIA H100", "TPU v5 lite") of the default device.

    Whether several processes can have it at once is `shared`.
    """

    platform: str
    kind: str

    @property
    def shared(self) -> bool:
        """A TPU belongs to the process that started it."""
        return self.platform in ("cpu", "cuda", "rocm")


def mine() -> Device:
    """This process's, which takes it."""
    return Device(platform(), jax.devices()[0].device_kind)


def lack() -> str:
    """Why JAX finds no device in this process, in a line, or ""."""
    try:
        jax.devices()
    except NO_DEVICE as error:
        told = os.environ.get("JAX_PLATFORMS")
        return " ".join(str(error).split()) or f"it has no backend for JAX_PLATFORMS={told!r} here"
    return ""


def find() -> Device:
    """Asked in another process, which gives it back: this one leaves it to those that measure.

    Raises:
      RuntimeError: if JAX finds none; with its last words.
    """
    asked = subprocess.run([sys.executable, "-m", "jaxconv._bench.device"], capture_output=True, text=True)
    if asked.returncode:
        raise RuntimeError(f"JAX finds no device: {(asked.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return Device(*json.loads(asked.stdout.splitlines()[-1]))


def without_torch(platform: str) -> str:
    """Why PyTorch cannot be measured on JAX's platform, or ""."""
    if importlib.util.find_spec("torch") is None:
        return "it is not installed: pip install 'jaxconv[benchmarks]'"
    from .by_torch import device_on

    return "" if device_on(platform) else f"JAX runs on {platform}, and the PyTorch installed here does not"


if __name__ == "__main__":
    if reason := lack():
        sys.exit(reason)
    print(json.dumps(mine()))
