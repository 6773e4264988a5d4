"""The table of algorithms. The chooser, the tests, the demo and the error messages all read this one."""

from collections.abc import Callable

import jax

from .._geometry import Geometry
from . import im2col, naive, xla

Algorithm = Callable[[jax.Array, jax.Array, Geometry], jax.Array]

ALGORITHMS: dict[str, Algorithm] = {
    "naive": naive.convolve,
    "im2col": im2col.convolve,
    "xla": xla.convolve,
}
