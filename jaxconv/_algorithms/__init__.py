"""The table of algorithms. The chooser, the tests, the demo and the error messages all read this one."""

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


def of_constant_shapes(algorithm: Algorithm) -> Algorithm:
    """The same, refusing symbolic sizes. Where there is nothing to add up no algorithm is asked."""

    def unsupported(geometry: Geometry, *bound: int) -> str:
        if geometry.is_symbolic:
            return "it needs constant shapes, and these are symbolic"
        return algorithm.unsupported(geometry, *bound) if not geometry.is_empty else ""

    return algorithm._replace(unsupported=unsupported)


ALGORITHMS: dict[str, Algorithm] = {
    "naive": of_constant_shapes(naive.ALGORITHM),
    "im2col": of_constant_shapes(im2col.ALGORITHM),
    "kn2row": of_constant_shapes(kn2row.ALGORITHM),
    "col2im": of_constant_shapes(col2im.ALGORITHM),
    "depthwise": of_constant_shapes(depthwise.ALGORITHM),
    "polyphase": of_constant_shapes(polyphase.ALGORITHM),
    "packing": of_constant_shapes(packing.ALGORITHM),
    "slabs": of_constant_shapes(slabs.ALGORITHM),
    "strips": of_constant_shapes(strips.ALGORITHM),
    "karatsuba": of_constant_shapes(karatsuba.ALGORITHM),
    "winograd2": of_constant_shapes(winograd.F2),
    "winograd4": of_constant_shapes(winograd.F4),
    "fft": of_constant_shapes(fft.ALGORITHM),
    "onednn": of_constant_shapes(onednn.ALGORITHM),
    "xla": xla.ALGORITHM,
}
"""Name -> algorithm, for what is passed as `algorithm=`: `list(jaxconv.ALGORITHMS)` are the names."""
