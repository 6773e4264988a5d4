"""Winograd's minimal filtering (Winograd 1980; Lavin, Gray 2015, arXiv 1509.09308): fewer products for 3-tap kernels.

F(m, 3) computes m neighbouring outputs y[i] = sum over k of d[i + k] g[k] with n = m + 2 products instead of 3 m, by
the transforms of `_toom_cook`:

    y = A^T [ (G g) * (B^T d) ]

Along several axes the transforms are applied one after the other, so 3x3 kernels take (n / (3 m))^2 of the products:
1 / 2.25 for m = 2, 1 / 4 for m = 4. The products of all tiles at one of the n^d places are one product of matrices

    M[a] [tiles, O] = V[a] [tiles, C] @ U[a] [C, O]

F(2, 3) is as exact as the direct sum. F(4, 3) loses about a digit; its error is bounded by the norm, not by components.

A dilated kernel needs no zeros: the outputs of a tile, and the inputs, lie `rhs_dilation` apart.

Weight gradients, which have 3 positions and very many taps, are for `_winograd_weights`.
"""

from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._algorithm import either
from .._chunk import Kernel
from .._chunks import chunked
from .._geometry import Geometry, ceil_div
from .._in_order import in_order
from . import _winograd_weights
from ._bilinear import along, interleaved, transformed
from ._toom_cook import TAPS, transforms


def kernel(outputs: int) -> Kernel:
    """F(outputs, 3) along every axis with 3 taps, along the others nothing."""
    evaluate, of_taps, of_inputs = transforms(outputs, TAPS)
    inputs = outputs + TAPS - 1

    def tiles(g: Geometry) -> list[int]:
        """Along each axis."""
        return [
            ceil_div(size, outputs * spread) if taps == TAPS else size
            for size, taps, spread in zip(g.out_spatial, g.kernel, g.rhs_dilation, strict=True)
        ]

    def workspace(g: Geometry) -> int:
        places = prod(inputs for taps in g.kernel if taps == TAPS)
        spread = prod(d for d, taps in zip(g.rhs_dilation, g.kernel, strict=True) if taps == TAPS)
        rows = g.batch * prod(tiles(g)) * spread
        padded = g.batch * g.groups * g.in_channels if any(map(any, g.padding)) else 0
        for size, taps, dilation in zip(tiles(g), g.kernel, g.rhs_dilation, strict=True):
            padded *= (outputs * size + TAPS - 1) * dilation if taps == TAPS else size
        taps = g.in_channels * g.groups * g.out_channels
        # The inputs' transforms are all made before the first product, and each goes when its product is there. So what
        # is there together is all of one or all of the other, whichever are larger, and a few of the transforms.
        values = rows * g.groups * (places * max(g.in_channels, g.out_channels) + 4 * g.in_channels)
        return g.accumulator.itemsize * (values + places * taps + padded)

    def prepare(rhs: jax.Array, letters: str, g: Geometry) -> tuple[dict[tuple[int, ...], jax.Array], str]:
        rhs = rhs.astype(g.accumulator)
        values = {place: rhs[place] for place in product(*map(range, g.kernel))}
        for axis, taps in enumerate(g.kernel):
            if taps == TAPS:
                values = along(of_taps, values, axis)
        return values, letters

    def compute(lhs: jax.Array, prepared: tuple[dict[tuple[int, ...], jax.Array], str], g: Geometry) -> jax.Array:
        taps, letters = prepared
        count = tiles(g)
        # Channels first, the transforms would take two to four times as long. Groups XLA has in front, as a batch.
        ordered = in_order if g.groups == 1 else lambda array: array
        fast = [axis for axis in range(g.ndim) if g.kernel[axis] == TAPS]
        # Axis s becomes (row of the tiles' grid, place within the dilation); rows `outputs` apart start the tiles.
        pads, split = [(0, 0, 0)], [g.batch]
        for axis in range(g.ndim):
            spread = g.rhs_dilation[axis] if axis in fast else 1
            rows = outputs * count[axis] + TAPS - 1 if axis in fast else count[axis]
            low, high = g.padding[axis]
            if high < 0:  # or a tile that reaches beyond the last output would mix in what is cropped
                lhs = lax.slice_in_dim(lhs, 0, max(0, g.spatial[axis] + high), axis=1 + axis)
            pads.append((low, rows * spread - low - lhs.shape[1 + axis], 0))
            split += [rows, spread]
        padded = lax.pad(lhs, jnp.zeros((), lhs.dtype), [*pads, (0, 0, 0), (0, 0, 0)])
        padded = ordered(padded).reshape(*split, g.groups, g.in_channels)
        rows_of_tiles = {axis: 1 + 2 * axis for axis in fast}
        values = transformed(of_inputs, padded, g.ndim, rows_of_tiles, outputs, count, g.accumulator)

        grid = values[(0,) * g.ndim].shape[:-2]
        for place, tile in values.items():
            left, right = tile.reshape(-1, g.groups, g.in_channels), taps[place]
            spec = f"tgc,{letters}->tgo"
            if g.groups == 1:  # a plain product of matrices, not one of batches of one
                left, right, spec = left[:, 0], right.squeeze(letters.index("g")), spec.replace("g", "")
            values[place] = jnp.einsum(spec, left, right, precision=lax.Precision.HIGHEST).reshape(*grid, g.groups, -1)
        for axis in fast:
            values = along(evaluate, values, axis)

        # The outputs of a tile go between its row and its place within the dilation.
        out = interleaved(values, g.ndim, rows_of_tiles, outputs)
        shape = [g.batch]
        for axis in range(g.ndim):
            spread = g.rhs_dilation[axis] if axis in fast else 1
            shape.append(count[axis] * spread * (outputs if axis in fast else 1))
        out = out.reshape(*shape, g.groups, g.out_channels)
        stops = (g.batch, *g.out_spatial, g.groups, g.out_channels)
        return ordered(lax.slice(out, (0,) * out.ndim, stops))

    return Kernel(compute, workspace, prepare, by_columns=True)


def has_taps(geometry: Geometry) -> bool:
    """Whether there are 3 along some axis, and 1 along the others."""
    return TAPS in geometry.kernel and not set(geometry.kernel) - {1, TAPS}


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    if not jnp.issubdtype(g.accumulator, jnp.inexact):
        return f"its transforms have fractions, and {g.dtype} has none"
    if not has_taps(g):
        return f"it needs {TAPS} taps along each axis, or one, and has {g.kernel}"
    for name, values in (("strides", g.strides), ("lhs_dilation", g.lhs_dilation)):
        if set(values) != {1}:
            return f"{name} must be 1, and are {values}"
    return ""


KERNELS = {outputs: kernel(outputs) for outputs in (2, 4)}
F2, F4 = (
    either(
        lambda geometry: geometry.few_positions and not has_taps(geometry),
        yes=_winograd_weights.algorithm(tile),
        no=chunked(kernel, refuses),
    )
    for tile, kernel in KERNELS.items()
)
