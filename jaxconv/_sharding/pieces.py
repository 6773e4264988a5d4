"""A shard's convolution without a copy of the shard: of its own rows where they lie, and of those next to them apart.

The window of a shard is its own rows and those of its neighbours, which come as arrays of their own. To convolve it in
one go is to copy it. Instead, along axes whose positions are shared out,

    out = convolution of the shard's own rows, with zeros for the neighbours',
    its first and last positions, which meet these, written over: each the convolution of a few rows of both,

and along axes whose taps are shared out, whose result is the sum of what rows and taps give, whoever has the rows,

    out = that of its own rows + that of the rows before, with the taps that meet them, + that of the rows after.

Along several axes the rows of the first are as wide as the shard, those of the second as wide as the shard with the
rows of the first, and so on: so corners come along, and messages stay two for each axis. Nothing that is made is larger
than some rows along one of the axes, and the convolution of the shard's own rows waits for no message.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .factors import Axes, is_summed
from .halo import passed_on
from .windows import Piece, Span, Window

Convolve = Callable[[jax.Array, jax.Array, dict[int, tuple[int, int]]], jax.Array]


class Slabs(NamedTuple):
    """Rows next to a shard along one of its axes, before and after; None where there are none.

    Along axes of other slabs that came before, they are as long as the shard with those.
    """

    axis: int
    low: jax.Array | None
    high: jax.Array | None


def can_be_in_pieces(parts: dict[str, Window]) -> bool:
    """Whether all shards have their windows at the same place, and most of these are their own."""
    summed = [is_summed(factor) for factor in parts]
    if not all(part.is_regular for part in parts.values()) or len({*summed}) != 1:
        return False
    return summed[0] or all(part.inner[0] < part.inner[1] for part in parts.values())


def in_pieces(
    convolve: Convolve,
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: Geometry,
    parts: dict[str, Window],
    axes: dict[str, Axes],
    mesh: dict[str, int],
) -> jax.Array:
    """This shard's results, or its part of their sum.

    Args:
      convolve: (lhs, rhs, spatial axis -> padding) -> out.
      lhs, rhs: shards.
      geometry: the whole convolution.
      parts: factor -> its window, for the spatial axes that are shared out, all by positions or all by taps.
      axes: factor -> mesh axes.
      mesh: sizes of the mesh axes, in the order of the mesh.
    """
    numbers = geometry.dimension_numbers
    along = {factor: int(factor[1:]) for factor in parts}
    received: list[Slabs] = []
    for factor, part in parts.items():
        received.append(_receive(lhs, received, numbers.lhs_spec[2 + along[factor]], part, axes[factor], mesh))

    def piece(chosen: dict[str, Piece]) -> jax.Array:
        """The convolution of some of the rows, for some of the positions, along each axis."""
        rows = {numbers.lhs_spec[2 + along[factor]]: some.rows for factor, some in chosen.items()}
        summed = {factor: some for factor, some in chosen.items() if is_summed(factor)}
        taps = {numbers.rhs_spec[2 + along[factor]]: some.positions for factor, some in summed.items()}
        padding = {along[factor]: parts[factor].padding_of(some) for factor, some in chosen.items()}
        return convolve(_box(lhs, received, rows), _slice(rhs, taps), padding)

    own = {factor: part.own_rows for factor, part in parts.items()}
    every = {factor: part.all_rows for factor, part in parts.items()}
    out, added = piece(own), own
    for factor, part in parts.items():
        if is_summed(factor):
            for edge in _neighbours_rows(part):
                out = out + piece({**added, factor: edge})
            added = {**added, factor: Piece((-part.left, part.own + part.right), (0, part.share))}
        else:
            axis = numbers.out_spec[2 + along[factor]]
            for edge in _edges(part):
                out = lax.dynamic_update_slice_in_dim(out, piece({**every, factor: edge}), edge.positions[0], axis)
    return out


def _edges(part: Window) -> list[Piece]:
    """The positions that meet rows of neighbours, and all rows that these meet."""
    first, end = part.inner
    return [part.met_by(span) for span in ((0, first), (end, part.share)) if span[0] < span[1]]


def _neighbours_rows(part: Window) -> list[Piece]:
    """The rows of neighbours, and the positions that meet these."""
    first, end = part.inner
    pieces = Piece((-part.left, 0), (0, first)), Piece((part.own, part.own + part.right), (end, part.share))
    return [piece for piece in pieces if piece.rows[0] < piece.rows[1]]


def _receive(x: jax.Array, others: list[Slabs], axis: int, part: Window, names: Axes, mesh: dict[str, int]) -> Slabs:
    """The rows next to the shard along an axis, given those along others."""
    whole = {slabs.axis: _extent(x, slabs) for slabs in others}
    low = high = None
    if part.left:
        low = passed_on(_box(x, others, {**whole, axis: (part.own - part.left, part.own)}), names, 1, mesh)
    if part.right:
        high = passed_on(_box(x, others, {**whole, axis: (0, part.right)}), names, -1, mesh)
    return Slabs(axis, low, high)


def _extent(x: jax.Array, slabs: Slabs) -> Span:
    """From the first to the last row that there is along the axis of these."""
    before, after = (0 if slab is None else slab.shape[slabs.axis] for slab in slabs[1:])
    return -before, x.shape[slabs.axis] + after


def _box(x: jax.Array, received: Sequence[Slabs], rows: dict[int, Span]) -> jax.Array:
    """Some rows along some axes of the shard and what it received, counted from the first of its own."""
    if not received:
        return _slice(x, rows)
    *others, slabs = received
    axis, own = slabs.axis, x.shape[slabs.axis]
    first, end = rows[axis]
    begins = {each.axis: _extent(x, each)[0] for each in others}
    inside = {each: (span[0] - begins.get(each, 0), span[1] - begins.get(each, 0)) for each, span in rows.items()}
    parts = []
    if slabs.low is not None and first < 0:
        before = slabs.low.shape[axis]
        parts.append(_slice(slabs.low, {**inside, axis: (first + before, min(end, 0) + before)}))
    if max(first, 0) < min(end, own):
        parts.append(_box(x, others, {**rows, axis: (max(first, 0), min(end, own))}))
    if slabs.high is not None and end > own:
        parts.append(_slice(slabs.high, {**inside, axis: (max(first, own) - own, end - own)}))
    return jnp.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def _slice(x: jax.Array, spans: dict[int, Span]) -> jax.Array:
    starts, ends = [0] * x.ndim, [*x.shape]
    for axis, (first, end) in spans.items():
        starts[axis], ends[axis] = first, end
    return lax.slice(x, starts, ends)
