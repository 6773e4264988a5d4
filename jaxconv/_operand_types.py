"""The types in which operands are multiplied, where XLA cannot multiply those that they have.

Nothing is lost by it: integers wrap modulo a power of two, so more bits of them give the same; floats are exact in
wider ones; integers whose sum is to be a float are rounded to its type as they are where XLA multiplies them. Copies of
the operands that this makes are not counted as workspace.
"""

from dataclasses import replace
from math import prod

import jax.numpy as jnp
import numpy as np
from jax import lax

from ._geometry import Geometry

FOR_TENSOR_CORES = {("float16", "float32"), ("bfloat16", "float32")}  # operands and sums that they have products of
# (rows + columns) * terms of products of matrices that XLA for CUDA makes loops of, which round each product to the
# operands' type: `xla_gpu_gemm_rewrite_size_threshold`.
SMALL_PRODUCT = 100


def of_types_that_multiply(geometry: Geometry, platform: str) -> Geometry:
    """The same convolution of operands that programs for the platform can multiply, with a result at least as wide."""
    g = geometry
    if jnp.issubdtype(g.dtype, np.integer) and jnp.iinfo(g.dtype).bits < 8:
        # XLA:CPU cannot multiply matrices of them.
        byte = "int8" if jnp.issubdtype(g.dtype, np.signedinteger) else "uint8"
        g = replace(g, dtype=byte, preferred_element_type=None if g.out_dtype == g.dtype else g.out_dtype)
    types = g.dtype, g.accumulator.name
    if platform not in ("cuda", "rocm") or g.dtype == g.accumulator.name:
        return g
    if types in FOR_TENSOR_CORES and smallest_product(g) >= SMALL_PRODUCT:
        return g
    # XLA for CUDA (jaxlib 0.11.2, H200) multiplies float32 for sums of float64 in float32, has no products of int8 of
    # some sizes, and none of integers for sums of floats: some do not compile, others end the process.
    precision = (lax.Precision.HIGHEST,) * 2 if jnp.issubdtype(g.dtype, np.integer) else g.precision
    return replace(g, dtype=g.accumulator.name, preferred_element_type=None, precision=precision)


def smallest_product(geometry: Geometry) -> int:
    """(rows + columns) * terms of those that algorithms make of it: of one tap, or position, of one group."""
    g = geometry
    if g.few_positions:
        return (g.batch + g.out_channels) * prod(g.kernel)
    of_a_phase = prod(g.out_spatial) // prod(g.lhs_dilation)
    return (g.batch * of_a_phase + g.out_channels) * g.in_channels
