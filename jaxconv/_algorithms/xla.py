"""The compiler's own convolution: lax's."""

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._algorithm import MAX_WORKSPACE_BYTES, Algorithm, nothing, once
from .._geometry import Geometry, dilated


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: whatever XLA takes.

    The primitive binds lax's own instead where it can; this is for the algorithms that end in easier convolutions.
    """
    if jnp.issubdtype(geometry.dtype, jnp.complexfloating):  # lax would round sums on the way to a wider result
        lhs, rhs = lhs.astype(geometry.out_dtype), rhs.astype(geometry.out_dtype)
    return lax.conv_general_dilated(lhs, rhs, **geometry.to_params())


def workspace(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Bytes, roughly: of operands and result in canonical order where they are stored in another, lhs dilated."""
    g = geometry
    extent = prod(dilated(size, grow) for size, grow in zip(g.spatial, g.lhs_dilation, strict=True))
    copied = not g.lhs_layout.is_canonical or extent > prod(g.spatial)
    total = copied * g.batch * extent * g.groups * g.in_channels * jnp.dtype(g.dtype).itemsize
    total += (not g.rhs_layout.is_canonical) * prod(g.rhs_layout.shape) * jnp.dtype(g.dtype).itemsize
    return total + (not g.out_layout.is_canonical) * prod(g.out_layout.shape) * jnp.dtype(g.out_dtype).itemsize


ALGORITHM = Algorithm(convolve, nothing, workspace, once)
