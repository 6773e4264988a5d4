"""The compiler's own convolution: lax's."""

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry


def convolve(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: whatever XLA takes.

    The primitive binds lax's own instead where it can; this is for the algorithms that end in easier convolutions.
    """
    if jnp.issubdtype(geometry.dtype, jnp.complexfloating):  # lax would round sums on the way to a wider result
        lhs, rhs = lhs.astype(geometry.out_dtype), rhs.astype(geometry.out_dtype)
    return lax.conv_general_dilated(lhs, rhs, **geometry.to_params())
