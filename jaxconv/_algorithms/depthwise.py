"""Elementwise multiply-adds instead of products of matrices: for groups of few channels, as in depthwise convolutions.

Three ways to order the sum, each where it has the least to write out or to loop over:

    written_out   few taps: one fused pass (forward and input gradients)
    looped        many taps: a loop of such passes (kernels of 9x9 and more)
    dual          few output positions: one sum for each of them (weight gradients)
"""

from math import prod

import jax

from .._geometry import Geometry
from . import dual, looped, written_out

MAX_PRODUCTS = 64  # of an input with an output channel of a group, for each tap


def ways(geometry: Geometry) -> list:
    """The modules that can be used, best first."""
    return [dual, written_out, looped] if few_outputs(geometry) else [written_out, looped, dual]


def few_outputs(geometry: Geometry) -> bool:
    """Whether it looks like a weight gradient: fewer outputs of a group than products in the sum of each."""
    g = geometry
    return g.batch * prod(g.out_spatial) < prod(g.kernel) * g.in_channels


def unsupported(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    products = (g.batch if few_outputs(g) else g.in_channels) * g.out_channels
    if products > MAX_PRODUCTS:
        return f"groups with {products} products of channels are for products of matrices"
    reasons = [way.unsupported(geometry) for way in ways(geometry)]
    return "" if "" in reasons else "; ".join(reasons)


def convolve(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: the output and the bound on workspace."""
    return next(way for way in ways(geometry) if not way.unsupported(geometry)).convolve(lhs, rhs, geometry)
