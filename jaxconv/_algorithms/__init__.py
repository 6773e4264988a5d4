"""The table of algorithms. The chooser, the tests, the demo and the error messages all read this one."""

import jax.numpy as jnp
import numpy as np

from .._algorithm import Algorithm
from .._geometry import Geometry
from . import (
    col2im,
    depthwise,
    fft,
    im2col,
    karatsuba,
    kn2row,
    naive,
    onednn,
    packing,
    polyphase,
    slabs,
    strips,
    winograd,
    xla,
)

WITHOUT_ZERO = {"float8_e8m0fnu"}
MAX_POSITION = 2**31 - 1  # JAX's integers have 32 bits, XLA's own more


def of_usual(algorithm: Algorithm) -> Algorithm:
    """The same, refusing symbolic sizes, positions and types that only XLA knows to convolve. Where there is nothing to
    add up no algorithm is asked."""

    def unsupported(geometry: Geometry, *bound: int) -> str:
        if geometry.is_symbolic:
            return "it needs constant shapes, and these are symbolic"
        sides = (abs(side) for pair in geometry.padding for side in pair)
        if max((0, *geometry.strides, *geometry.lhs_dilation, *geometry.rhs_dilation, *sides)) > MAX_POSITION:
            return f"it counts positions up to {MAX_POSITION}, and there are strides, dilations or padding beyond"
        if geometry.dtype in WITHOUT_ZERO:
            return f"it pads with zeros, and {geometry.dtype} has none"
        if jnp.issubdtype(geometry.dtype, np.floating) and jnp.finfo(geometry.dtype).bits < 8:
            return f"XLA has no products of {geometry.dtype}, of less than a byte"
        return algorithm.unsupported(geometry, *bound) if not geometry.is_empty else ""

    return algorithm._replace(unsupported=unsupported)


ALGORITHMS: dict[str, Algorithm] = {
    "naive": of_usual(naive.ALGORITHM),
    "im2col": of_usual(im2col.ALGORITHM),
    "kn2row": of_usual(kn2row.ALGORITHM),
    "col2im": of_usual(col2im.ALGORITHM),
    "depthwise": of_usual(depthwise.ALGORITHM),
    "polyphase": of_usual(polyphase.ALGORITHM),
    "packing": of_usual(packing.ALGORITHM),
    "slabs": of_usual(slabs.ALGORITHM),
    "strips": of_usual(strips.ALGORITHM),
    "karatsuba": of_usual(karatsuba.ALGORITHM),
    "winograd2": of_usual(winograd.F2),
    "winograd4": of_usual(winograd.F4),
    "fft": of_usual(fft.ALGORITHM),
    "onednn": of_usual(onednn.ALGORITHM),
    "xla": xla.ALGORITHM,
}
"""Name -> algorithm, for what is passed as `algorithm=`: `list(jaxconv.ALGORITHMS)` are the names."""
