"""The compiler's own convolution: lax's, with nothing changed."""

import jax
from jax import lax

from .._geometry import Geometry


def convolve(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: whatever XLA takes."""
    return lax.conv_general_dilated(lhs, rhs, **geometry.to_params())
