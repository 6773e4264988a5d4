"""Compute a convolution a part of its sum at a time: for weight gradients, whose output, the taps, is small, whose
operands are large and whose sum is long. Its summed channels are images and its taps positions.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import isqrt, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ._algorithm import MAX_WORKSPACE_BYTES, Algorithm, bounded, nothing
from ._chunks import part, whole
from ._geometry import Geometry, ceil_div, dilated
from ._tiling import for_each, for_each_block, read_window

Compute = Callable[[jax.Array, jax.Array, Geometry], jax.Array]
Workspace = Callable[[Geometry], int]


class Cut(NamedTuple):
    """How a sum is cut into parts.

    Attributes:
      along: what of, the first first: channels, and rows of taps along the first axis.
      max_channels, max_rows: the most that a part has.
      cached: whether a part is small enough to stay in the cache. The largest such part is taken, if there is one.
      ahead: whether each part is read while the one before is computed, for what the compiler fuses with reading.
      copies: how often a window of some rows of lhs is in memory, beside what the workspace of a part counts.
      copies_of_rhs: the same of what a part reads of rhs, where it is not the whole.
    """

    along: tuple[str, ...] = ("channels", "rows")
    max_channels: int | None = None
    max_rows: int | None = None
    cached: Callable[[Geometry], bool] | None = None
    ahead: bool = False
    copies: int = 0
    copies_of_rhs: int = 0


CUT = Cut()


def summed(geometry: Geometry, channels: int, rows: int) -> Geometry:
    """The convolution of some of the channels with some of the taps along the first axis.

    Its lhs is a window of that axis. Where all windows begin equally far in front of an element of the dilated lhs, it
    is one of elements, dilated as they were; otherwise of the dilated and padded lhs. Its result is of the type that
    sums are kept in, as the sum of all of them alone is rounded.
    """
    g = replace(geometry, in_channels=channels)
    if g.in_channels < geometry.in_channels or (g.ndim and rows < g.kernel[0]):
        g = replace(g, preferred_element_type=g.accumulator.name)
    if not g.ndim or rows == g.kernel[0]:
        return g
    grow = g.lhs_dilation[0] if rows * g.rhs_dilation[0] % g.lhs_dilation[0] == 0 else 1
    reach = (g.out_spatial[0] - 1) * g.strides[0] + dilated(rows, g.rhs_dilation[0])
    cropped = -g.padding[0][0] % grow  # between the first element of a window and what its first tap meets
    length = ceil_div(reach + cropped, grow)
    return replace(
        g,
        kernel=(rows, *g.kernel[1:]),
        spatial=(length, *g.spatial[1:]),
        padding=((-cropped, reach + cropped - dilated(length, grow)), *g.padding[1:]),
        lhs_dilation=(grow, *g.lhs_dilation[1:]),
    )


def divisions(geometry: Geometry, cut: Cut) -> Iterator[Geometry]:
    """The ways to cut the sum into equal parts, larger ones first."""
    g = geometry
    sizes = {"rows": [g.kernel[0] if g.ndim else 1], "channels": [g.in_channels]}
    sizes |= {name: divisors(sizes[name][0]) for name in cut.along}
    for name, most in (("channels", cut.max_channels), ("rows", cut.max_rows)):
        sizes[name] = [size for size in sizes[name] if not most or size <= most]
    order = [*dict.fromkeys([*reversed(cut.along), *sizes])]
    for parts in product(*(sizes[name] for name in order)):
        yield summed(g, **dict(zip(order, parts, strict=True)))


def divisors(size: int) -> list[int]:
    """From the largest."""
    small = [part for part in range(1, isqrt(size) + 1) if size % part == 0]
    return sorted({*small, *(size // part for part in small)}, reverse=True)


def needed(geometry: Geometry, part: Geometry, workspace: Workspace, cut: Cut) -> int:
    """Bytes that the part takes."""
    is_window = part.kernel != geometry.kernel
    is_part = is_window or part.in_channels != geometry.in_channels
    itemsize = jnp.dtype(part.dtype).itemsize
    window = part.batch * prod(part.spatial) * part.groups * part.in_channels * itemsize
    of_rhs = prod(part.kernel) * part.in_channels * part.groups * part.out_channels * itemsize
    return workspace(part) + cut.copies * is_window * window + cut.copies_of_rhs * is_part * of_rhs


@lru_cache(4096)
def choose_summands(geometry: Geometry, workspace: Workspace, max_bytes: int, cut: Cut = CUT) -> Geometry | None:
    """The largest part of the sum that fits under the bound, and in the cache if one does; None if none fits."""

    def fitting() -> Iterator[Geometry]:
        return (some for some in divisions(geometry, cut) if needed(geometry, some, workspace, cut) <= max_bytes)

    cached = filter(cut.cached, fitting()) if cut.cached else iter(())
    return next(cached, None) or next(fitting(), None)


def results(geometry: Geometry) -> int:
    """How many there are."""
    g = geometry
    return g.batch * prod(g.out_spatial) * g.groups * g.out_channels


def in_summands(
    compute: Compute,
    workspace: Workspace,
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: Geometry,
    max_bytes: int,
    cut: Cut = CUT,
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts.

    `compute(lhs [N, *S, G, C], rhs [*K, C, G, O], geometry) -> [N, *S', G, O]` for a part of the sum.
    """
    g, taps = geometry, geometry.kernel[0] if geometry.ndim else 1
    small = choose_summands(g, workspace, max_bytes, cut) or [*divisions(g, cut)][-1]
    small = part(small, whole(small))
    channels, count = small.in_channels, small.kernel[0] if g.ndim else 1
    if (count, channels) == (taps, g.in_channels):
        total = compute(g.lhs_layout.whole(lhs), g.rhs_layout.whole(rhs), small)
        return g.out_layout.stored(total.astype(g.out_dtype))

    def read_lhs(row, channel):
        if count == taps:
            return g.lhs_layout.read(lhs, (*(0,) * (g.ndim + 2), channel), (g.batch, *g.spatial, g.groups, channels))
        # A window of rows is cut out padded; `compute` does what is left to do, and pads along the other axes.
        grow, rest = small.lhs_dilation[0], g.ndim - 1
        padding = tuple(ceil_div(side, grow) for side in g.padding[0])
        first_axis = replace(
            g,
            padding=(padding, *((0, 0),) * rest),
            lhs_dilation=(g.lhs_dilation[0] // grow, *(1,) * rest),
        )
        return read_window(lhs, first_axis, (0, row * g.rhs_dilation[0] // grow, *(0,) * g.ndim, channel), small)

    def read(index):
        row, channel = index[0] * count, index[1] * channels
        starts = (*(row, *(0,) * (g.ndim - 1))[: g.ndim], channel, 0, 0)
        right = g.rhs_layout.read(rhs, starts, (*small.kernel, channels, g.groups, g.out_channels))
        return read_lhs(row, channel), right

    def add(left, right, total):
        return total + g.out_layout.stored(compute(left, right, small))

    turns, nothing = (taps // count, g.in_channels // channels), jnp.zeros(g.out_layout.shape, g.accumulator)
    if not cut.ahead:
        total = for_each(turns, lambda index, total: add(*read(index), total), nothing)
    else:  # Between turns operands are in memory, so in the order that they are stored in most often: of images.
        total = for_each_block(
            turns,
            lambda index: turned(*read(index)),
            lambda _, operands, total: add(*turned_back(*operands), total),
            nothing,
        )
    return total.astype(g.out_dtype)


def turned(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """lhs [N, *S, G, C], rhs [*K, C, G, O] -> [C, *S, G, N], [C, *K, G, O]."""
    return jnp.swapaxes(lhs, 0, -1), jnp.moveaxis(rhs, -3, 0)


def turned_back(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The other way round."""
    return jnp.swapaxes(lhs, 0, -1), jnp.moveaxis(rhs, 0, -3)


def added_up(
    compute: Compute,
    workspace: Workspace,
    refuses: Callable[[Geometry], str] = nothing,
    cut: Cut = CUT,
) -> Algorithm:
    """`compute` as an algorithm, for all that `refuses` (geometry -> why not, or "") does not refuse."""

    def convolve(lhs, rhs, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> jax.Array:
        return in_summands(compute, workspace, lhs, rhs, geometry, max_workspace_bytes, cut)

    return of_summands(convolve, workspace, refuses, cut)


def of_summands(
    convolve: Callable[..., jax.Array],
    workspace: Workspace,
    refuses: Callable[[Geometry], str] = nothing,
    cut: Cut = CUT,
) -> Algorithm:
    """The same with another way to go through the parts of the sum, that are cut as `cut` says."""

    def estimate(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
        chosen = choose_summands(geometry, workspace, max_workspace_bytes, cut)
        return needed(geometry, chosen or [*divisions(geometry, cut)][-1], workspace, cut)

    def turns(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
        chosen = choose_summands(geometry, workspace, max_workspace_bytes, cut)
        part = chosen or [*divisions(geometry, cut)][-1]
        return geometry.in_channels * prod(geometry.kernel) // (part.in_channels * prod(part.kernel))

    return bounded(convolve, estimate, turns, refuses)
