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

Blocks are longer than the kernel, but not by much: up to a few hundred places the transform is fastest as a product
with its own matrix. That one is exact about places and frequencies that nobody asks for (padding, dilation, strides):
they have no row in it, or no column. Longer blocks take the fast transform (Cooley, Tukey 1965).

An error in one frequency reaches all outputs of a block: it is bounded by the norm, not by components.
"""

from functools import cache
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._chunks import Kernel, in_chunks, too_big
from .._geometry import Geometry, dilated
from .._tiling import MAX_WORKSPACE_BYTES, ceil_div

LONGEST_MATRIX = 256  # of the transforms that are products with a matrix; one twice as long gains nothing over an FFT

MOVING = 128  # steps of a transform that reading and writing a number at one frequency takes as long as, all in all


class Blocks(NamedTuple):
    """How one axis is cut. Block number b takes the inputs `hop * b - low` and following.

    Attributes:
      number: of the blocks.
      length: L, of the transform.
      read: inputs in a block.
      first: place of the first of them; the others follow it.
      low: zeros to put in front of the input (negative: what to leave out).
      outputs: of each block.
      hop: from block to block.
    """

    number: int
    length: int
    read: int
    first: int
    low: int
    outputs: int
    hop: int


@cache
def smooth(least: int) -> int:
    """The smallest 2^a 3^b 5^c that is not less."""
    found, five = 1 << (least - 1).bit_length(), 1
    while five < found:
        three = five
        while three < found:
            found = min(found, three << max(0, ceil_div(least, three) - 1).bit_length())
            three *= 3
        five *= 5
    return found


def blocks(g: Geometry, axis: int) -> Blocks:
    """Those that take the fewest operations, judged for each axis by itself."""
    low, inputs, outputs = g.padding[axis][0], g.in_channels, g.out_channels
    return _blocks(
        (g.spatial[axis], low, g.out_spatial[axis], dilated(g.kernel[axis], g.rhs_dilation[axis]), g.strides[axis]),
        round(inputs * outputs / (inputs + outputs)),
        round(inputs * outputs / (inputs + outputs) / g.batch, 2),
    )


@cache
def _blocks(sizes: tuple[int, ...], products: int, taps: float) -> Blocks:
    """`products` and `taps`: work at one frequency, and to transform the kernel, as parts of what a block takes."""
    size, low, outputs, extent, stride = sizes
    last = (outputs - 1) * stride + extent  # places that windows touch
    zeros, skipped = max(low, 0), max(-low, 0)
    read = max(1, min(size, last - low) - skipped)
    whole = max(read + zeros, last - zeros, extent)
    whole = whole if whole <= LONGEST_MATRIX else smooth(whole)
    choices = [Blocks(1, whole, read, zeros, -skipped, outputs, whole)]
    lengths = [1, *range(8, LONGEST_MATRIX + 1, 8), *(smooth(extent * times) for times in (2, 3, 4, 6, 8))]
    for length in lengths:
        each = (length - extent) // stride + 1
        # Windows that share less than an eighth of a block with their neighbours are for those who have no choice.
        if extent <= length < whole and 8 * each * stride >= length:
            hop = each * stride
            choices.append(Blocks(ceil_div(outputs, each), length, length, 0, low, each, hop))

    def work(b: Blocks) -> float:
        steps = b.length if b.length <= LONGEST_MATRIX else 16 * b.length.bit_length()
        return b.length * (b.number * (steps + products + MOVING) + taps * steps)

    return min(choices, key=work)


def parts(values: np.ndarray) -> np.ndarray:
    """[2, n, 2, m] that multiplies (real, imaginary) by the complex [n, m]."""
    real, imaginary = np.real(values), np.imag(values)
    return np.array([[real, imaginary], [-imaginary, real]]).transpose(0, 2, 1, 3)


def waves(length: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """e(row * column), its angles in more digits than float64 has, where there are such."""
    turns = (np.outer(rows, columns) % length).astype(np.longdouble) / length
    angles = turns * (8 * np.arctan(np.longdouble(1)))
    return np.cos(angles).astype(np.float64) + 1j * np.sin(angles).astype(np.float64)


def product(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """[A, m, ...] from [a, n, A, m] and [a, n, ...]."""
    a, n, *shape = matrix.shape
    flat = jnp.asarray(matrix.reshape(a * n, -1), x.dtype)
    out = lax.dot_general(flat, x.reshape(a * n, -1), (((0,), (0,)), ((), ())), precision=lax.Precision.HIGHEST)
    return out.reshape(*shape, *x.shape[2:])


def forward(x: jax.Array, length: int, first: int, step: int, sign: int) -> jax.Array:
    """[2, frequencies, ...] from [1 (real) or 2, n, ...], element i of which is at `first + step * i`."""
    count = x.shape[1]
    frequencies = length // 2 + 1 if x.shape[0] == 1 else length
    if length <= LONGEST_MATRIX:
        values = waves(length, first + step * np.arange(count), sign * np.arange(frequencies))
        return product(parts(values)[: x.shape[0]], x)
    config = [(first, length - first - dilated(count, step), step - 1)] + [(0, 0, 0)] * (x.ndim - 2)
    real, imaginary = (lax.pad(x[i], jnp.zeros((), x.dtype), config) for i in (0, -1))
    if x.shape[0] == 1:
        found = jnp.fft.rfft(real, axis=0)
        return jnp.stack([found.real, -sign * found.imag])
    found = jnp.fft.fft(lax.complex(real, -sign * imaginary), axis=0)  # sign 1: the conjugate's, conjugated
    return jnp.stack([found.real, -sign * found.imag])


def backward(x: jax.Array, length: int, outputs: int, stride: int, real: bool) -> jax.Array:
    """[1 (real) or 2, outputs, ...] from [2, frequencies, ...]."""
    frequencies = x.shape[1]
    if length <= LONGEST_MATRIX:
        twice = [1 + (real and 0 < 2 * f < length) for f in range(frequencies)]
        values = waves(length, np.arange(frequencies), stride * np.arange(outputs)) * np.array(twice)[:, None] / length
        return product(parts(values)[:, :, : 1 if real else 2], x)
    found = lax.complex(x[0], x[1])
    found = jnp.fft.irfft(found, length, axis=0) if real else jnp.fft.ifft(found, axis=0)
    found = lax.slice_in_dim(found, 0, (outputs - 1) * stride + 1, stride)
    return found[None] if real else jnp.stack([found.real, found.imag])


def split(x: jax.Array, dtype: np.dtype) -> jax.Array:
    """Real and imaginary part in front."""
    x = x.astype(dtype)
    return jnp.stack([x.real, x.imag]) if dtype.kind == "c" else x[None]


def meets_input(g: Geometry, axis: int) -> np.ndarray:
    """[taps]: whether it multiplies anything but padding."""
    stride, size = g.strides[axis], g.spatial[axis]
    at = np.arange(g.kernel[axis]) * g.rhs_dilation[axis] - g.padding[axis][0]  # of output 0
    output = np.maximum(0, -(at // stride))  # the first that reaches the input
    return (output < g.out_spatial[axis]) & (at + output * stride < size)


def by_element(g: Geometry) -> bool:
    """Whether the products are of numbers, not of matrices."""
    return g.in_channels == g.out_channels == 1


def prepare(rhs: jax.Array, letters: str, g: Geometry) -> tuple[jax.Array, str]:
    """W, [2, frequencies, *letters], the axes' frequencies in reverse order. For products of matrices [2, 2, ...]: it
    and i W, which meet the real and the imaginary part."""
    values = split(rhs, g.accumulator)
    for axis in range(g.ndim):
        values, used = jnp.moveaxis(values, 1 + axis, 1), meets_input(g, axis)
        if not used.all():  # rounding errors are relative to all that is transformed, needed or not
            values = values * used.reshape(-1, *(1,) * (values.ndim - 2)).astype(values.real.dtype)
        values = forward(values, blocks(g, axis).length, 0, g.rhs_dilation[axis], 1)
    values = values.reshape(2, -1, *rhs.shape[g.ndim :])
    if by_element(g):
        return values, letters
    return jnp.stack([values, jnp.stack([-values[1], values[0]])]), letters


def windows(x: jax.Array, axis: int, b: Blocks) -> jax.Array:
    """The axis as two: blocks and what each reads."""
    pieces = ceil_div(b.read, b.hop)
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (b.low, (b.number + pieces - 1) * b.hop - b.low - x.shape[axis], 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), config)
    x = x.reshape(*x.shape[:axis], -1, b.hop, *x.shape[axis + 1 :])
    shifted = [lax.slice_in_dim(x, i, i + b.number, axis=axis) for i in range(pieces)]
    return lax.slice_in_dim(lax.concatenate(shifted, axis + 1), 0, b.read, axis=axis + 1)


def compute(lhs: jax.Array, prepared: tuple[jax.Array, str], g: Geometry) -> jax.Array:
    taps, letters = prepared
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
        values = jnp.einsum(f"afgtc,abf{letters}->bfgto", values, taps, precision=lax.Precision.HIGHEST)

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


KERNEL = Kernel(compute, workspace, prepare)


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: the output and `max_workspace_bytes`."""
    return in_chunks(KERNEL, lhs, rhs, geometry, max_workspace_bytes)


def unsupported(geometry: Geometry) -> str:
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
    return too_big(g, KERNEL)
