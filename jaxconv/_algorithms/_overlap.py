"""How the axes of a convolution are cut into overlapping blocks for transforms (overlap-save).

The next block starts where the first window that does not end within this one would. Where one block takes all of an
axis, windows may run over its end into the zeros of the padding that it begins with.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry, ceil_div, dilated
from .._transforms import LONGEST_MATRIX

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


def windows(x: jax.Array, axis: int, b: Blocks) -> jax.Array:
    """The axis as two: blocks and what each reads."""
    pieces = ceil_div(b.read, b.hop)
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (b.low, (b.number + pieces - 1) * b.hop - b.low - x.shape[axis], 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), config)
    x = x.reshape(*x.shape[:axis], -1, b.hop, *x.shape[axis + 1 :])
    shifted = [lax.slice_in_dim(x, i, i + b.number, axis=axis) for i in range(pieces)]
    return lax.slice_in_dim(lax.concatenate(shifted, axis + 1), 0, b.read, axis=axis + 1)
