"""Where the caller's arrays keep the axes of the canonical form, and how to read and write a block of it."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Layout(NamedTuple):
    """Where the caller's array keeps the canonical axes.

    Splitting the group off its axis is a free reshape. The transposition to canonical order is not free, so it is done
    for the part that is read, never for the whole array.

    Attributes:
      shape: the caller's shape.
      split: the same shape with the group axis split off, in the caller's order.
      order: canonical axis `i` is axis `order[i]` of `split`.
    """

    shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]

    def read(self, array: jax.Array, starts: tuple, sizes: tuple[int, ...]) -> jax.Array:
        """The canonical block of shape `sizes` that begins at canonical index `starts` (clamped, never wrapped)."""
        return self.read_stored(array, starts, sizes).transpose(self.order)

    def read_stored(self, array: jax.Array, starts: tuple, sizes: tuple[int, ...]) -> jax.Array:
        """The same block with its axes in the order they are stored in, that of `split`."""
        stored = [0] * len(self.order), [0] * len(self.order)
        for axis, start, size in zip(self.order, starts, sizes, strict=True):
            stored[0][axis], stored[1][axis] = start, size
        # The barrier keeps what is done to the block from being done, once and ahead of the loop, to the whole array:
        # XLA:CPU computes bfloat16 in float32, slicing included, and would widen the operand.
        array, first = lax.optimization_barrier((array, stored[0]))
        return lax.dynamic_slice(array.reshape(self.split), first, stored[1], allow_negative_indices=False)

    def whole(self, array: Any) -> Any:
        """The caller's array, of JAX or NumPy, in canonical order: free where that is the order it is stored in."""
        return array.reshape(self.split).transpose(self.order)

    def stored(self, canonical: jax.Array) -> jax.Array:
        """The way back from `whole`."""
        return canonical.transpose(np.argsort(self.order)).reshape(self.shape)

    @property
    def is_canonical(self) -> bool:
        """Whether the caller's array is stored in canonical order, single elements aside."""
        return self.is_stored_as(range(len(self.order)))

    def is_stored_as(self, axes: Iterable[int]) -> bool:
        """Whether these canonical axes are stored in this order, single elements aside."""
        places = [self.order[axis] for axis in axes if self.split[self.order[axis]] != 1]
        return places == sorted(places)

    def unfilled(self, dtype: Any) -> jax.Array:
        """Zeros for `write` to write to, and a loop to carry. Of half types with groups they are split: XLA:CPU would
        copy all of an array whose shape is changed with each block."""
        is_split = [size for size in self.split if size > 1] != [size for size in self.shape if size > 1]
        return jnp.zeros(self.split if is_split and is_half(dtype) else self.shape, dtype)

    def write(self, unfilled: jax.Array, block: jax.Array, starts: tuple) -> jax.Array:
        """The same with the canonical `block` at canonical index `starts`."""
        stored = np.argsort(self.order)
        return update(unfilled, block.transpose(stored), [starts[axis] for axis in stored], self.split)

    def filled(self, written: jax.Array) -> jax.Array:
        """The caller's array of what was written to."""
        return written.reshape(self.shape)


def update(
    array: jax.Array, block: jax.Array, starts: Sequence[Any], shape: tuple[int, ...] | None = None
) -> jax.Array:
    """`array`, seen as one of this shape, with the block at these indices (clamped, never wrapped)."""
    seen = bits(array).reshape(shape or array.shape)
    updated = lax.dynamic_update_slice(seen, bits(block), starts, allow_negative_indices=False)
    return of_bits(updated.reshape(array.shape), array.dtype)  # last, or XLA would copy the array


def is_half(dtype: Any) -> bool:
    """Whether these are floats narrower than 32 bits."""
    return jnp.issubdtype(dtype, np.floating) and jnp.dtype(dtype).itemsize < 4


def bits(array: jax.Array) -> jax.Array:
    """Floats narrower than 32 bits as unsigned integers, anything else as it is.

    XLA:CPU would write a block of such floats into a float32 copy of the whole array, and cut one out of such a copy.
    """
    if is_half(array.dtype):
        return lax.bitcast_convert_type(array, f"uint{8 * array.dtype.itemsize}")
    return array


def to_slice(array: jax.Array) -> jax.Array:
    """bfloat16 as bits: XLA:CPU would write out each slice of it, or slice a float32 copy. float16 is sliced."""
    return bits(array) if array.dtype == jnp.bfloat16 else array


def of_bits(array: jax.Array, dtype: Any) -> jax.Array:
    """The way back."""
    return lax.bitcast_convert_type(array, dtype)


def place(spec: Sequence[int], axes: list[list[str]], sizes: dict[str, int]) -> Layout:
    """The caller's axis `spec[i]` holds the canonical axes named in `axes[i]`, slowest first; `sizes` is in canonical
    order."""
    stored = [axes[list(spec).index(axis)] for axis in range(len(spec))]
    names = [name for axis in stored for name in axis]
    return Layout(
        shape=tuple(prod(sizes[name] for name in axis) for axis in stored),
        split=tuple(sizes[name] for name in names),
        order=tuple(names.index(name) for name in sizes),
    )


def channels_last(rank: int) -> lax.ConvDimensionNumbers:
    """Of arrays in canonical order: NHWC, HWIO, NHWC for two spatial axes."""
    image = (0, rank + 1, *range(1, rank + 1))
    return lax.ConvDimensionNumbers(image, (rank + 1, rank, *range(rank)), image)
