"""The table of algorithms. The chooser, the tests, the demo and the error messages all read this one."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax

from .._geometry import Geometry
from . import col2im, depthwise, fft, im2col, karatsuba, kn2row, naive, packing, polyphase, slabs, strips, winograd, xla


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


def of_constant_shapes(refuses: Callable[[Geometry], str] = anything) -> Callable[[Geometry], str]:
    """Refuses symbolic sizes, and what `refuses` does. Where there is nothing to add up no algorithm is asked."""

    def unsupported(geometry: Geometry) -> str:
        if geometry.is_symbolic:
            return "it needs constant shapes, and these are symbolic"
        return refuses(geometry) if geometry.macs else ""

    return unsupported


ALGORITHMS: dict[str, Algorithm] = {
    "naive": Algorithm(naive.convolve, of_constant_shapes()),
    "im2col": Algorithm(im2col.convolve, of_constant_shapes()),
    "kn2row": Algorithm(kn2row.convolve, of_constant_shapes(kn2row.unsupported)),
    "col2im": Algorithm(col2im.convolve, of_constant_shapes(col2im.unsupported)),
    "depthwise": Algorithm(depthwise.convolve, of_constant_shapes(depthwise.unsupported)),
    "polyphase": Algorithm(polyphase.convolve, of_constant_shapes(polyphase.unsupported)),
    "packing": Algorithm(packing.convolve, of_constant_shapes(packing.unsupported)),
    "slabs": Algorithm(slabs.convolve, of_constant_shapes(slabs.unsupported)),
    "strips": Algorithm(strips.convolve, of_constant_shapes(strips.unsupported)),
    "karatsuba": Algorithm(karatsuba.convolve, of_constant_shapes(karatsuba.unsupported)),
    "winograd2": Algorithm(partial(winograd.convolve, 2), of_constant_shapes(partial(winograd.unsupported, 2))),
    "winograd4": Algorithm(partial(winograd.convolve, 4), of_constant_shapes(partial(winograd.unsupported, 4))),
    "fft": Algorithm(fft.convolve, of_constant_shapes(fft.unsupported)),
    "xla": Algorithm(xla.convolve, anything),
}
