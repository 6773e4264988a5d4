"""The convolution theorem (Stockham 1966), a block at a time (overlap-save): few operations for kernels of many taps.

The discrete Fourier transform over L places turns a circular convolution into a product at each frequency f. With
e(x) = exp(2 pi i x / L), for a block x of L inputs and taps w that lie `spread` apart,

    X[f] = sum over i of x[i] e(-f i)      W[f] = sum over k of w[k] e(f k spread)
    y[s] = 1 / L * sum over f of X[f] W[f] e(f s stride)  =  sum over k of x[(s stride + k spread) mod L] w[k]

which is a convolution, and not a circular one, for every s whose window ends within the block. The next block starts
where the first window that does not would. Where one block takes all of an axis, windows may run over its end into the
zeros of the padding that it begins with. Of real inputs half of the frequencies along one axis are enough. Products of
all blocks at one frequency are one product of matrices,

    Y[f] [blocks, O] = X[f] [blocks, C] @ W[f] [C, O]

Blocks are longer than the kernel, but not by much, so most transforms are products with their own matrix.

An error in one frequency reaches all outputs of a block: it is bounded by the norm, not by components.
"""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._algorithm import MAX_WORKSPACE_BYTES
from .._chunk import Kernel
from .._chunks import chunked
from .._geometry import Geometry
from .._phases import axis_phases, meets_input
from .._transforms import backward, forward
from ._overlap import blocks, windows


def split(x: jax.Array, dtype: np.dtype) -> jax.Array:
    """Real and imaginary part in front."""
    x = x.astype(dtype)
    return jnp.stack([x.real, x.imag]) if dtype.kind == "c" else x[None]


def by_element(g: Geometry) -> bool:
    """Whether the products are of numbers, not of matrices."""
    return g.in_channels == g.out_channels == 1


def prepare(rhs: jax.Array, letters: str, g: Geometry) -> jax.Array:
    """W, [2, frequencies, *letters], the axes' frequencies in reverse order. For products of matrices it and i W, which
    meet the real and the imaginary part, in the order of the product: [frequencies, G, 2, O, 2, C]."""
    values, phases = split(rhs, g.accumulator), axis_phases(g)
    for axis in range(g.ndim):
        values = jnp.moveaxis(values, 1 + axis, 1)
        used = meets_input(phases[axis][0], g.out_spatial[axis], g.spatial[axis])
        if not used.all():  # rounding errors are relative to all that is transformed, needed or not
            values = values * used.reshape(-1, *(1,) * (values.ndim - 2)).astype(values.real.dtype)
        values = forward(values, blocks(g, axis).length, 0, g.rhs_dilation[axis], 1)
    values = values.reshape(2, -1, *rhs.shape[g.ndim :])
    if by_element(g):
        return values
    return jnp.einsum(f"abf{letters}->fgboac", jnp.stack([values, jnp.stack([-values[1], values[0]])]))


def compute(lhs: jax.Array, taps: jax.Array, g: Geometry) -> jax.Array:
    cut = [blocks(g, axis) for axis in range(g.ndim)]
    for axis in reversed(range(g.ndim)):
        lhs = windows(lhs, 1 + axis, cut[axis])
    counts, places = range(1, 2 * g.ndim, 2), range(2, 2 * g.ndim + 1, 2)
    lhs = lhs.transpose(*places, 2 * g.ndim + 1, 0, *counts, 2 * g.ndim + 2)
    values = split(lhs, g.accumulator)
    for axis, b in enumerate(cut):
        values = forward(jnp.moveaxis(values, 1 + axis, 1), b.length, b.first, 1, -1)

    # [2, frequencies, G, blocks, C]
    shape, values = (
        values.shape[1 : 1 + g.ndim],
        values.reshape(2, prod(values.shape[1 : 1 + g.ndim]), g.groups, -1, g.in_channels),
    )
    if by_element(g):
        real, imaginary = taps.reshape(2, -1, g.groups, 1, 1)
        values = jnp.stack([values[0] * real - values[1] * imaginary, values[0] * imaginary + values[1] * real])
    else:
        values = jnp.einsum("afgtc,fgboac->bfgto", values, taps, precision=lax.Precision.HIGHEST)

    values = values.reshape(2, *shape, g.groups, g.batch, *(b.number for b in cut), g.out_channels)
    for step, axis in enumerate(reversed(range(g.ndim))):
        real = axis == 0 and g.accumulator.kind != "c"
        values = jnp.moveaxis(values, 1 + step, 1)
        values = backward(values, cut[axis].length, cut[axis].outputs, g.strides[axis], real)

    # [*outputs of a block, G, N, *blocks, O]
    out = lax.complex(values[0], values[1]) if g.accumulator.kind == "c" else values[0]
    order = [axis + (g.ndim + 2) * part for axis in range(g.ndim) for part in (1, 0)]
    out = out.transpose(g.ndim + 1, *order, g.ndim, 2 * g.ndim + 2)
    out = out.reshape(g.batch, *(b.number * b.outputs for b in cut), g.groups, g.out_channels)
    return lax.slice(out, (0,) * out.ndim, (g.batch, *g.out_spatial, g.groups, g.out_channels))


def workspace(g: Geometry) -> int:
    """A step of a transform has what it reads and what it makes; products may need one of them in another order."""
    cut = [blocks(g, axis) for axis in range(g.ndim)]
    halves = 2 if g.accumulator.kind == "c" else 1
    frequencies = prod(b.length for b in cut[1:]) * (cut[0].length if halves == 2 else cut[0].length // 2 + 1)

    def most(channels: int, ends: list[int]) -> int:
        """Of the elements between the steps, each of which may add some; the first one leaves real numbers behind."""
        steps = [2 * frequencies // prod(b.length for b in cut[1 + i :]) * prod(ends[1 + i :]) for i in range(g.ndim)]
        return g.groups * channels * max(halves * prod(ends), *steps)

    count = g.batch * prod(b.number for b in cut)
    inputs = count * most(g.in_channels, [b.read for b in cut])
    outputs = count * most(g.out_channels, [b.outputs for b in cut])
    taps = most(g.in_channels * g.out_channels, list(g.kernel))
    elements = inputs + outputs + taps
    if not by_element(g):
        elements = max(inputs + outputs + max(inputs, outputs) + 2 * taps, 3 * taps)
    padded = any(b.number > 1 for b in cut) * g.batch * prod(g.spatial) * g.groups * g.in_channels * halves
    operands = (prod(g.kernel) * g.out_channels + g.batch * prod(g.spatial) // 2) * g.in_channels * g.groups
    return (elements + padded + operands * halves) * g.accumulator.itemsize // halves


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    if not g.ndim:
        return "it needs a spatial axis"
    if not jnp.issubdtype(g.accumulator, jnp.inexact):
        return f"its transforms have fractions, and {g.dtype} has none"
    if set(g.lhs_dilation) != {1}:
        return f"lhs_dilation must be 1, and is {g.lhs_dilation}"
    taps = prod(g.kernel) * g.in_channels * g.groups * g.out_channels * g.accumulator.itemsize
    if taps > 4 * MAX_WORKSPACE_BYTES:
        return f"its {taps} bytes of taps would be transformed in too many pieces"
    return ""


KERNEL = Kernel(compute, workspace, prepare)
ALGORITHM = chunked(KERNEL, refuses)
