"""Elementwise multiply-adds instead of products of matrices: for groups of few channels, as in depthwise convolutions.

Three ways to order the sum, each where it has the least to write out or to loop over:

    written_out   few taps: one fused pass (forward and input gradients)
    looped        many taps: a loop of such passes (kernels of 9x9 and more)
    dual          few output positions: one sum for each of them (weight gradients)
"""

from math import prod

import jax

from .._algorithm import MAX_WORKSPACE_BYTES, Algorithm
from .._geometry import Geometry
from .._phases import too_many
from . import dual, looped, written_out

MAX_PRODUCTS = 64  # of an input with an output channel of a group, for each tap


def few_outputs(geometry: Geometry) -> bool:
    """Whether it looks like a weight gradient: fewer outputs of a group than products in the sum of each."""
    g = geometry
    return g.batch * prod(g.out_spatial) < prod(g.kernel) * g.in_channels


def ways(geometry: Geometry) -> list[Algorithm]:
    """Those that can be used, best first."""
    if few_outputs(geometry):
        return [dual.WHOLE, dual.ALGORITHM, written_out.ALGORITHM, looped.ALGORITHM]
    return [written_out.ALGORITHM, looped.ALGORITHM, dual.ALGORITHM]


def way(geometry: Geometry, bound: int) -> Algorithm | None:
    """The best that can do it."""
    return next((way for way in ways(geometry) if not way.unsupported(geometry, bound)), None)


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts."""
    chosen = way(geometry, max_workspace_bytes) or looped.ALGORITHM
    return chosen.convolve(lhs, rhs, geometry, max_workspace_bytes)


def workspace(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Of the best, or the least that any needs."""
    if chosen := way(geometry, max_workspace_bytes):
        return chosen.workspace(geometry, max_workspace_bytes)
    return min(way.workspace(geometry, max_workspace_bytes) for way in ways(geometry))


def unsupported(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> str:
    """Why not, or ""."""
    g = geometry
    products = (g.batch if few_outputs(g) else g.in_channels) * g.out_channels
    if products > MAX_PRODUCTS:
        return f"groups with {products} products of channels are for products of matrices"
    if not few_outputs(g) and (reason := too_many(g)):
        return reason
    if way(g, max_workspace_bytes):
        return ""
    return "; ".join(way.unsupported(g, max_workspace_bytes) for way in ways(g))


def turns(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Of the best."""
    chosen = way(geometry, max_workspace_bytes) or looped.ALGORITHM
    return chosen.turns(geometry, max_workspace_bytes)


ALGORITHM = Algorithm(convolve, unsupported, workspace, turns)
