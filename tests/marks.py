"""What tests need that is not everywhere."""

import jax
import pytest

from jaxconv._algorithms import _onednn
from jaxconv._machine import platform

lack = _onednn.lack() or ("" if jax.default_backend() == "cpu" else "it is for CPUs")
needs_onednn = pytest.mark.skipif(bool(lack), reason=lack)
on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of memory, threads or predicted times of CPUs")
several_devices = pytest.mark.skipif(jax.device_count() < 4, reason="shared out among 4 devices")
lax_has_integers = pytest.mark.skipif(platform() == "cuda", reason="XLA for CUDA has none, or clips what it convolves")


def where_lax_has_all():
    """A context for lax's convolutions of any type as references: on the CPU."""
    return jax.default_device(jax.devices("cpu")[0])
