"""How much of a convolution's output is computed at once, so that it takes no more memory than it may: some images,
rows, columns and output channels.

A kernel computes `(lhs [N, *S, G, C], taps, geometry) -> out [N, *S', G, O]` on whole arrays in canonical order, with
every argument of the geometry, padding included. Its taps are what it prepared from rhs, once for all images.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import product, starmap
from math import prod
from operator import le
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._geometry import Geometry, ceil_div
from ._layout import channels_last
from ._tiling import halves, tile_of


def in_canonical_order(rhs: jax.Array, letters: str, geometry: Geometry) -> jax.Array:
    """[*K, C, G, O] from taps whose channels are in the order of the letters."""
    rank = geometry.ndim
    return rhs.transpose(*range(rank), *(rank + letters.index(letter) for letter in "cgo"))


class Kernel(NamedTuple):
    """A way to compute a convolution of whole arrays.

    Attributes:
      compute: (lhs [N, *S, G, C], what `prepare` gave, geometry) -> [N, *S', G, O].
      workspace: geometry -> bytes of all that both make, the result aside.
      prepare: (rhs, letters, geometry) -> whatever `compute` wants of it. rhs has the taps first and then C, G and O in
        the order they are stored in, which the letters "c", "g", "o" tell: a product of matrices takes any.
      fuses: whether the compiler can fuse cutting, turning and putting back what is computed with computing it.
      by_columns: whether rows of volumes, which are planes, are cut, too, along the second spatial axis.
    """

    compute: Callable[[jax.Array, Any, Geometry], jax.Array]
    workspace: Callable[[Geometry], int]
    prepare: Callable[[jax.Array, str, Geometry], Any] = in_canonical_order
    fuses: bool = True
    by_columns: bool = False


class Chunk(NamedTuple):
    """How much of the output is computed at once: images, rows along the first spatial axis, columns along the second,
    output channels."""

    images: int
    rows: int
    columns: int
    outputs: int

    @property
    def positions(self) -> tuple[int, int]:
        """Along the first two spatial axes, as far as there are such."""
        return self.rows, self.columns


def whole(geometry: Geometry) -> Chunk:
    """All of it."""
    rows, columns = (*geometry.out_spatial, 1, 1)[:2]
    return Chunk(geometry.batch, rows, columns, geometry.out_channels)


def part(geometry: Geometry, chunk: Chunk) -> Geometry:
    """The chunk as a convolution, its operands in canonical order. A block of rows comes with its padding."""
    g = replace(geometry, dimension_numbers=channels_last(geometry.ndim), batch_grouped=False)
    if chunk.positions == whole(g).positions:
        return replace(g, batch=chunk.images, out_channels=chunk.outputs)
    positions = (*chunk.positions, *g.out_spatial[2:])[: g.ndim]
    return tile_of(g, (chunk.images, *positions, g.groups, chunk.outputs, g.in_channels, *g.kernel))


def needed(geometry: Geometry, kernel: Kernel, chunk: Chunk) -> int:
    """Bytes beside operands and result: the kernel's and the copies'."""
    g, everything, small = geometry, whole(geometry), part(geometry, chunk)
    itemsize, out_itemsize = jnp.dtype(g.dtype).itemsize, jnp.dtype(g.out_dtype).itemsize
    total = kernel.workspace(small)
    if chunk[:3] != everything[:3] or not g.lhs_layout.is_canonical:
        copies = (1 if chunk.positions == everything.positions else 2) + (not kernel.fuses)  # this chunk's and the next
        total += copies * small.batch * prod(small.spatial) * g.groups * g.in_channels * itemsize
    if chunk != everything or not g.out_layout.is_canonical:
        copies = 1 + (not kernel.fuses)
        total += copies * small.batch * prod(small.out_spatial) * g.groups * small.out_channels * out_itemsize
    in_front = sorted(axis for axis in g.rhs_layout.order[: g.ndim]) == list(range(g.ndim))
    if chunk.outputs < g.out_channels or not in_front:
        copies = 2 if chunk.outputs < g.out_channels else 1
        total += copies * prod(g.kernel) * g.in_channels * g.groups * chunk.outputs * itemsize
    return total


def cuts_columns(geometry: Geometry, kernel: Kernel) -> bool:
    """Whether chunks have some of the columns."""
    return kernel.by_columns and geometry.ndim > 2


@lru_cache(4096)  # the chooser asks several times for each algorithm
def choose_chunk(geometry: Geometry, kernel: Kernel, max_bytes: int) -> Chunk | None:
    """Of those that fit under the bound, the one for which all chunks together need least; None if none fits.

    Chunks of rows read some rows twice, chunks of images all taps, chunks of outputs all images: all that adds up, so
    parts of a chunk that fits are not looked at.
    """
    everything = whole(geometry)
    images, rows, columns, outputs = map(halves, everything)
    if not cuts_columns(geometry, kernel):
        columns = columns[:1]
    # Rows of a dilated lhs would come with zeros that a kernel may count on not being there.
    if max(geometry.lhs_dilation, default=1) > 1:
        rows, columns = rows[:1], columns[:1]
    totals: dict[Chunk, int] = {}
    for chunk in starmap(Chunk, product(images, rows, columns, outputs)):
        if any(all(map(le, chunk, larger)) for larger in totals):
            continue
        if (bytes_ := needed(geometry, kernel, chunk)) <= max_bytes:
            totals[chunk] = bytes_ * prod(map(ceil_div, everything, chunk))
    return min(totals, key=totals.__getitem__, default=None)


def smallest(geometry: Geometry, kernel: Kernel) -> Chunk:
    """The least that there is."""
    everything = whole(geometry)
    rows, columns = (1, 1) if max(geometry.lhs_dilation, default=1) == 1 else everything.positions
    return Chunk(1, rows, columns if cuts_columns(geometry, kernel) else everything.columns, 1)


def chosen_or_smallest(geometry: Geometry, kernel: Kernel, max_bytes: int) -> Chunk:
    """The chunk that is chosen, or where none fits the least that there is."""
    return choose_chunk(geometry, kernel, max_bytes) or smallest(geometry, kernel)
