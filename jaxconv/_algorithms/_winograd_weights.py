"""Winograd's minimal filtering for the weight gradients of 3-tap kernels: fewer products for sums of 3 results.

The gradient of 3 taps is a convolution with 3 outputs and very many taps, the positions of the layer's output. In tiles
of r of them,

    out[s] = sum over t of  sum over j of  d[r t + s + j] g[r t + j]

each tile t is F(3, r) of `_toom_cook`, with r + 2 products instead of 3 r, and the transform that makes outputs of the
products is linear: the sum over all tiles, and images, comes before it.

    out = A^T  sum over t of  [ (G g_t) * (B^T d_t) ]

So along several axes the sums at one of the (r + 2)^d places are one product of matrices, summed over tiles and images,

    M[a] [N, O] = V[a]^T [N, tiles] @ U[a] [tiles, O]

with ((r + 2) / (3 r))^d of the products: 1 / 2.25 for r = 2 and 1 / 4 for r = 4 along two axes, 1 / 3.4 and 1 / 8 along
three. Both operands' transforms are ((r + 2) / r)^d times as large as these, so it pays where channels are many. The
points, and with them the errors, are those of F(2, 3) and F(4, 3).

The strides of such a convolution are the dilation of the layer: tiles take positions that far apart.
"""

from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._algorithm import Algorithm
from .._cut import Cut, results
from .._geometry import Geometry, ceil_div
from .._summands import added_up
from ._bilinear import along, transformed
from ._toom_cook import TAPS, transforms

CUT = Cut(ahead=True, apart=True)


def fast_axes(g: Geometry) -> list[int]:
    """Those with 3 outputs; along the others there is one, and the sum is plain."""
    return [axis for axis, count in enumerate(g.out_spatial) if count == TAPS]


def algorithm(tile: int) -> Algorithm:
    """F(3, tile) along every axis with 3 outputs."""
    evaluate, of_rhs, of_lhs = transforms(TAPS, tile)
    places = tile + TAPS - 1

    def tiles(g: Geometry) -> list[int]:
        """Along each axis."""
        axes = zip(g.kernel, g.strides, g.out_spatial, strict=True)
        return [ceil_div(taps, tile * spread) if count == TAPS else taps for taps, spread, count in axes]

    def compute(lhs: jax.Array, rhs: jax.Array, g: Geometry) -> jax.Array:
        """lhs [N, *S, 1, C], rhs [*K, C, 1, O] -> [N, *S', 1, O]."""
        count, fast = tiles(g), fast_axes(g)
        # Channels, which are summed, in front; axis s becomes (row of the tiles' grid, place within the dilation).
        pads, pads_of_rhs, split, split_of_rhs = [(0, 0, 0)], [(0, 0, 0)], [g.in_channels], [g.in_channels]
        for axis in range(g.ndim):
            taps, spread, low = g.kernel[axis], g.strides[axis] if axis in fast else 1, g.padding[axis][0]
            # What no output reads must not be there, or a tile that reaches beyond the last tap would mix it in.
            stop = min(g.spatial[axis], taps + (g.out_spatial[axis] - 1) * spread - low)
            lhs = lax.slice_in_dim(lhs, 0, max(0, stop), axis=1 + axis)
            rows = tile * count[axis] if axis in fast else taps
            rows_of_lhs = rows + TAPS - 1 if axis in fast else taps
            pads.append((low, rows_of_lhs * spread - low - lhs.shape[1 + axis], 0))
            pads_of_rhs.append((0, rows * spread - taps, 0))
            split += [rows_of_lhs, spread]
            split_of_rhs += [rows, spread]
        lhs, rhs = jnp.swapaxes(lhs.squeeze(-2), 0, -1), jnp.moveaxis(rhs.squeeze(-2), -2, 0)
        lhs = lax.pad(lhs, jnp.zeros((), lhs.dtype), [*pads, (0, 0, 0)]).reshape(*split, g.batch)
        rhs = lax.pad(rhs, jnp.zeros((), rhs.dtype), [*pads_of_rhs, (0, 0, 0)]).reshape(*split_of_rhs, g.out_channels)

        def of_tiles(matrix, array):
            axes = {axis: 1 + 2 * axis for axis in fast}
            values = transformed(matrix, array, g.ndim, axes, tile, count, g.accumulator)
            return {place: value.reshape(-1, value.shape[-1]) for place, value in values.items()}

        left, right = of_tiles(of_lhs, lhs), of_tiles(of_rhs, rhs)
        sums = {
            place: lax.dot_general(left[place], right[place], (((0,), (0,)), ((), ())), lax.Precision.HIGHEST)
            for place in left
        }
        for axis in fast:
            sums = along(evaluate, sums, axis)
        out = jnp.stack([sums[place] for place in product(*map(range, g.out_spatial))], 1)
        return out.reshape(g.batch, *g.out_spatial, 1, g.out_channels)

    def workspace(g: Geometry) -> int:
        """Bytes of both operands, of the transforms, and of what comes of them."""
        summed, values = g.in_channels, places ** len(fast_axes(g))
        for count, spread, outputs in zip(tiles(g), g.strides, g.out_spatial, strict=True):
            summed *= count * spread if outputs == TAPS else count
        channels, sums = g.batch + g.out_channels, g.batch * g.out_channels
        # The transforms are all made before the first product, and each goes when its product is there.
        total = max(values * summed * channels, values * sums) + summed * channels + sums + results(g)
        operands = (g.batch * prod(g.spatial) + g.out_channels * prod(g.kernel)) * g.in_channels
        copies = 2 if tile == 2 else 3  # this part's, the next one's, and padded ones where many windows are cut out
        return total * g.accumulator.itemsize + copies * operands * jnp.dtype(g.dtype).itemsize

    return added_up(compute, workspace, refuses, CUT)


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    if not jnp.issubdtype(g.accumulator, jnp.inexact):
        return f"its transforms have fractions, and {g.dtype} has none"
    if not fast_axes(g) or set(g.out_spatial) - {1, TAPS}:
        return f"with few positions it needs {TAPS} along each axis, or one, and has {g.out_spatial}"
    for name, values in (("rhs_dilation", g.rhs_dilation), ("lhs_dilation", g.lhs_dilation)):
        if set(values) != {1}:
            return f"with few positions {name} must be 1, and is {values}"
    if g.groups > 1:
        return f"with few positions it has one group, and here {g.groups}"
    return ""
