"""The table of algorithms. The chooser, the tests, the demo and the error messages all read this one."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from .._geometry import Geometry
from . import im2col, naive, xla


class Algorithm(NamedTuple):
    """A way to compute any convolution that it does not refuse.

    Attributes:
      convolve: (lhs, rhs, geometry) -> out, all in the caller's layouts.
      unsupported: geometry -> why it cannot be done, or "" when it can.
    """

    convolve: Callable[[jax.Array, jax.Array, Geometry], jax.Array]
    unsupported: Callable[[Geometry], str]


def anything(geometry: Geometry) -> str:
    """Refuses nothing."""
    return ""


def constant_shapes(geometry: Geometry) -> str:
    """Refuses symbolic sizes."""
    return "it needs constant shapes, and these are symbolic" if geometry.is_symbolic else ""


ALGORITHMS: dict[str, Algorithm] = {
    "naive": Algorithm(naive.convolve, constant_shapes),
    "im2col": Algorithm(im2col.convolve, constant_shapes),
    "xla": Algorithm(xla.convolve, anything),
}
