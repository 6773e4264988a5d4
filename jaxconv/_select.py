"""Which algorithm computes a convolution."""

from ._algorithms import ALGORITHMS
from ._geometry import Geometry


def choose(request: str | None, geometry: Geometry) -> str:
    """The algorithm asked for if it can do this convolution, else "xla", which can do all that lax can.

    A request is made for a convolution and then meets its derivatives and batched forms as well; for one of those that
    it cannot do, falling back is what the caller wants.
    """
    return request if request is not None and not ALGORITHMS[request].unsupported(geometry) else "xla"


def check_request(request: str | None, geometry: Geometry | None = None) -> None:
    """ValueError unless the request names an algorithm and that can do the convolution, as the caller wrote it."""
    if request is None:
        return
    if request not in ALGORITHMS:
        names = ", ".join(map(repr, ALGORITHMS))
        raise ValueError(f"conv_general_dilated algorithm must be None or one of {names}, got {request!r}")
    if geometry is None:
        return
    geometry.check()
    if reason := ALGORITHMS[request].unsupported(geometry):
        raise ValueError(f"conv_general_dilated algorithm {request!r} cannot do this convolution: {reason}; {geometry}")
