"""A convolution for oneDNN, and a process of its own to call it in."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

import jaxconv
from jaxconv._algorithms import _onednn

NHWC = ("NHWC", "HWIO", "NHWC")
CHANNELS_LAST = {3: ("NWC", "WIO", "NWC"), 4: NHWC, 5: ("NDHWC", "DHWIO", "NDHWC")}  # by the axes of an array
ROOT = Path(__file__).parent.parent


def conv(lhs, rhs, padding: Any = "SAME", **more):
    return jaxconv.conv_general_dilated(lhs, rhs, (1, 1), padding, dimension_numbers=NHWC, **more)


@pytest.fixture
def operands() -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (2, 9, 8, 5), "float32"), jax.random.normal(keys[1], (3, 3, 5, 7), "float32")


@pytest.fixture
def asked_anew():
    """The question whether oneDNN is there, without the answer that this process has."""
    _onednn.tried.cache_clear()
    yield
    _onednn.tried.cache_clear()


def run(code, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
