"""The definition, as loops.

    for every output position s:
        for every tap k:
            out[s] += lhs[stride * s + rhs_dilation * k - padding] @ rhs[k]

where `@` sums over the input channels of each group, for all images at once. With lhs dilation, only every
`lhs_dilation`-th element of the dilated input exists; the others, like everything outside, count as zero.

Its goal is to be understood, stepped through and trusted: nothing is precomputed, no array but the output is larger
than one position, and the loops are loops however large the input.
"""

import jax
import jax.numpy as jnp

from .._algorithm import MAX_WORKSPACE_BYTES, Algorithm, nothing, once
from .._geometry import Geometry, dilated
from .._tiling import for_each


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: the output and a few rows of one position, whatever the
    bound."""
    g = geometry
    one = (1,) * g.ndim

    def output_position(s, out):
        def tap(k, total):
            at = [
                position * stride + tap * spread - low
                for position, stride, tap, spread, (low, _) in zip(
                    s, g.strides, k, g.rhs_dilation, g.padding, strict=True
                )
            ]
            exists = jnp.array(True)
            for index, size, grow in zip(at, g.spatial, g.lhs_dilation, strict=True):
                exists &= (index >= 0) & (index < dilated(size, grow)) & (index % grow == 0)
            row = [jnp.maximum(index // grow, 0) for index, grow in zip(at, g.lhs_dilation, strict=True)]

            pixel = g.lhs_layout.read(lhs, (0, *row, 0, 0), (g.batch, *one, g.groups, g.in_channels))
            weights = g.rhs_layout.read(rhs, (*k, 0, 0, 0), (*one, g.in_channels, g.groups, g.out_channels))
            # In the type of the sum: of so small a product XLA for CUDA rounds the terms to that of the operands.
            product = jnp.einsum(
                "ngc,cgo->ngo",
                pixel.reshape(g.batch, g.groups, g.in_channels).astype(g.accumulator),
                weights.reshape(g.in_channels, g.groups, g.out_channels).astype(g.accumulator),
                precision=g.precision,
            )
            return total + jnp.where(exists, product, 0)

        total = for_each(g.kernel, tap, jnp.zeros((g.batch, g.groups, g.out_channels), g.accumulator))
        pixel = total.astype(g.out_dtype).reshape(g.batch, *one, g.groups, g.out_channels)
        return g.out_layout.write(out, pixel, (0, *s, 0, 0))

    out = for_each(g.out_spatial, output_position, g.out_layout.unfilled(g.out_dtype))
    return g.out_layout.filled(out)


def workspace(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Bytes of one position: a pixel, a tap and a result, as read, as turned and as added."""
    g = geometry
    pixel, tap, result = g.batch * g.in_channels, g.in_channels * g.out_channels, g.batch * g.out_channels
    return 4 * g.groups * (pixel + tap + result) * max(jnp.dtype(g.dtype).itemsize, g.accumulator.itemsize)


ALGORITHM = Algorithm(convolve, nothing, workspace, once)
