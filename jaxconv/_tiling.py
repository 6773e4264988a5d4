"""Cut one convolution into small ones, so that what an algorithm needs beside its operands stays under a bound.

A tile is a block of the output (images, positions, groups, output channels) and a block of the sum (taps, input
channels). It is itself a convolution, without padding or lhs dilation: the window it reads is cut out of the caller's
array and padded by itself, so no padded, dilated or transposed copy of a whole operand is ever made.

    for each block of the output:
        total = 0
        for each block of the sum:
            total += kernel(window of lhs, block of rhs)
        out[block] = total
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._geometry import Geometry, ceil_div, dilated


def for_each(shape: tuple[int, ...], body: Callable, carry: Any) -> Any:
    """`carry = body(index, carry)` for every index into an array of this shape, in row-major order, as one loop."""
    return lax.fori_loop(0, prod(shape), lambda flat, carry: body(_unravel(flat, shape), carry), carry)


def for_each_block(shape: tuple[int, ...], read: Callable, body: Callable, carry: Any) -> Any:
    """`carry = body(index, read(index), carry)` for every index into an array of this shape, as one loop.

    Each turn reads what the next one needs. What a loop carries is in memory, while a block read by the turn that uses
    it would be read, its place computed anew for each element, wherever it is used: three times slower and more.
    """

    def step(flat, state):
        carry, block = state
        return body(_unravel(flat, shape), block, carry), read(_unravel(flat + 1, shape))

    return lax.fori_loop(0, prod(shape), step, (carry, read(_unravel(jnp.asarray(0), shape))))[0]


def _unravel(flat: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
    index = []
    for size in reversed(shape):
        index.insert(0, lax.rem(flat, size))
        flat = lax.div(flat, size)
    return tuple(index)


def tile_of(geometry: Geometry, sizes: tuple[int, ...]) -> Geometry:
    """The tile with `sizes` images, output positions, groups, output channels, input channels and taps."""
    rank = geometry.ndim
    images, counts, kernel = sizes[0], sizes[1 : 1 + rank], sizes[rank + 4 :]
    groups, outputs, inputs = sizes[1 + rank : rank + 4]
    extent = [dilated(taps, spread) for taps, spread in zip(kernel, geometry.rhs_dilation, strict=True)]
    return replace(
        geometry,
        batch=images,
        spatial=tuple(
            (count - 1) * stride + taps for count, stride, taps in zip(counts, geometry.strides, extent, strict=True)
        ),
        groups=groups,
        out_channels=outputs,
        in_channels=inputs,
        kernel=kernel,
        padding=((0, 0),) * rank,
        lhs_dilation=(1,) * rank,
    )


@lru_cache(4096)
def choose_tile(geometry: Geometry, workspace: Callable[[Geometry], int], max_bytes: int, max_slices: int) -> Geometry:
    """The tile, as a geometry, that can be computed within `max_bytes`.

    Args:
      geometry: the whole problem.
      workspace: tile -> bytes of temporaries that computing it takes.
      max_bytes: the bound. A tile of one output and one product is returned even if that is over the bound.
      max_slices: on every axis a tile has at most this many taps or at most this many output positions.

    Dimensions are halved one after the other. Halving one makes the others' data be read again: splitting the images
    reads the kernel twice, splitting the output channels reads the input twice, splitting the sum writes the result
    twice. So each step takes the dimension that adds least to the bytes that all tiles touch together, images first
    among near equals. Blocks of the output may overlap, computing a result twice; blocks of the sum must not, so those
    go down to a divisor.
    """
    rank = geometry.ndim
    sizes = (geometry.batch, *geometry.out_spatial, geometry.groups, geometry.out_channels)
    sizes += (geometry.in_channels, *geometry.kernel)
    summed = rank + 3  # from here on

    def halved(sizes: tuple[int, ...], i: int) -> tuple[int, ...]:
        half = ceil_div(sizes[i], 2)
        if i >= summed:
            half = next(divisor for divisor in range(sizes[i] // 2, 0, -1) if sizes[i] % divisor == 0)
        return (*sizes[:i], half, *sizes[i + 1 :])

    for axis in range(rank):
        if geometry.kernel[axis] > max_slices:
            sizes = (*sizes[: 1 + axis], min(sizes[1 + axis], max_slices), *sizes[2 + axis :])
    whole = sizes

    def traffic(sizes: tuple[int, ...]) -> int:
        return prod(map(ceil_div, whole, sizes)) * workspace(tile_of(geometry, sizes))

    while workspace(tile_of(geometry, sizes)) > max_bytes and max(sizes) > 1:
        smaller = [halved(sizes, i) for i, size in enumerate(sizes) if size > 1]
        least = min(map(traffic, smaller))
        sizes = next(candidate for candidate in smaller if traffic(candidate) <= 1.05 * least)
    return tile_of(geometry, sizes)


def halves(whole: int) -> list[int]:
    """Sizes of blocks: all of it, half of that, and so on, down to one."""
    sizes = [whole]
    while sizes[-1] > 1:
        sizes.append(ceil_div(sizes[-1], 2))
    return sizes


def read_window(lhs: jax.Array, geometry: Geometry, starts: tuple, tile: Geometry) -> jax.Array:
    """The tile's piece [N, *S, G, C] of the padded, dilated lhs.

    `starts` is the canonical index of its corner, counted on the padded, dilated input.

    The rows to read are known only at run time and may lie outside the input. So: read as many as a window can touch
    from the nearest place that exists, spread them and put zeros around them, and cut the window out of that.
    """
    first, count, shift, config = [], [], [], []
    for start, size, (low, high), grow, length in zip(
        starts[1:-2], geometry.spatial, geometry.padding, geometry.lhs_dilation, tile.spatial, strict=True
    ):
        rows = min(size, (length + grow - 2) // grow + 1)
        margin = min(max(low, 0), length), min(max(high, 0), length) + grow - 1
        position = start - low
        row = jnp.clip(position // grow, 0, size - rows)
        first.append(row)
        count.append(rows)
        shift.append(jnp.maximum(margin[0] + position - row * grow, 0))
        config.append((*margin, grow - 1))
    block = geometry.lhs_layout.read(
        lhs, (starts[0], *first, *starts[-2:]), (tile.batch, *count, tile.groups, tile.in_channels)
    )
    block = lax.pad(block, jnp.zeros((), block.dtype), [(0, 0, 0), *config, (0, 0, 0), (0, 0, 0)])
    return lax.dynamic_slice(block, (0, *shift, 0, 0), (tile.batch, *tile.spatial, tile.groups, tile.in_channels))


def tiled(
    kernel: Callable[[jax.Array, jax.Array, Geometry], jax.Array],
    tile: Geometry,
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: Geometry,
) -> jax.Array:
    """The whole convolution, in the caller's layouts, from one kernel call a tile.

    `kernel(window [N, *S, G, C], taps [*K, C, G, O], tile) -> [N, *S', G, O]` in `geometry.accumulator`.
    """
    out_sizes = (geometry.batch, *geometry.out_spatial, geometry.groups, geometry.out_channels)
    out_block = (tile.batch, *tile.out_spatial, tile.groups, tile.out_channels)
    sum_sizes = (*geometry.kernel, geometry.in_channels)
    sum_block = (*tile.kernel, tile.in_channels)

    def place(index):
        # The last block is moved back to end with the output; it computes a few results a second time.
        return tuple(
            jnp.minimum(i * block, size - block) for i, block, size in zip(index, out_block, out_sizes, strict=True)
        )

    def read(out_index, sum_index):
        batch, *position, group, out_channel = place(out_index)
        *tap, in_channel = (i * block for i, block in zip(sum_index, sum_block, strict=True))
        corner = [
            s * stride + k * spread
            for s, stride, k, spread in zip(position, geometry.strides, tap, geometry.rhs_dilation, strict=True)
        ]
        window = read_window(lhs, geometry, (batch, *corner, group, in_channel), tile)
        taps = geometry.rhs_layout.read(
            rhs, (*tap, in_channel, group, out_channel), (*sum_block, tile.groups, tile.out_channels)
        )
        return window, taps

    def write(index, total, out):
        return geometry.out_layout.write(out, total.astype(geometry.out_dtype), place(index))

    blocks = tuple(map(ceil_div, out_sizes, out_block))
    summands = tuple(size // block for size, block in zip(sum_sizes, sum_block, strict=True))
    out = geometry.out_layout.unfilled(geometry.out_dtype)
    if prod(summands) == 1:

        def whole_sum(index, operands, out):
            window, taps = operands
            return write(index, kernel(window, taps, tile), out)

        out = for_each_block(blocks, lambda index: read(index, (0,) * len(summands)), whole_sum, out)
        return geometry.out_layout.filled(out)

    def add(index, operands, total):
        window, taps = operands
        return total + kernel(window, taps, tile)

    def output_block(index, out):
        nothing = jnp.zeros(out_block, geometry.accumulator)
        return write(index, for_each_block(summands, partial(read, index), add, nothing), out)

    return geometry.out_layout.filled(for_each(blocks, output_block, out))
