"""A shard's convolution a block at a time, of rows of its own and of those next to them, so that little is ever copied.

The window of a shard is its own rows and those of its neighbours, which come as arrays of their own; where the last
shards have no more real rows they may hold anything. To convolve it in one go is to copy it. Instead,

    for each block of positions:
        total = 0
        for each block of taps, or of input channels:
            total += convolution of the rows they meet, put together, and made zero where they are not real
        out[block] = total

along the axes that are shared out, and along others as far as blocks would be too large. A block is itself a
convolution, the same for all blocks and shards. Where one block is all, there is no loop; XLA may make no copy then.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._layout import update
from .._tiling import for_each, for_each_block, halves
from .along import Along
from .halo import shard_index
from .surroundings import Place, Side, cut, indices, read, surroundings

Convolve = Callable[[jax.Array, jax.Array, Mapping[Any, tuple[int, int]]], jax.Array]


def bytes_of_a_block(lhs: int, rhs: int, out: int, alongs: Sequence[Along], in_loop: bool) -> int:
    """Of copies of rows and taps, in a loop for the next turn, too, and of results, which are added up or put in place.

    Args:
      lhs, rhs, out: bytes of a shard.
      alongs: with the blocks.
      in_loop: whether there are several.
    """
    copied = [along for along in alongs if not along.is_as_it_is]
    if not copied:
        return 0
    sums, positions = ([along for along in copied if along.is_summed is summed] for summed in (True, False))
    rows = lhs * prod(along.blocks.rows / max(along.part.own, 1) for along in copied)
    taps = rhs * prod(along.blocks.computed / along.part.share for along in sums)
    results = out * prod(along.blocks.computed / along.part.share for along in positions)
    if in_loop:
        taps *= bool(sums) or any(along.rhs is not None for along in copied)
        return round(2 * (rows + taps) + results * (1 + any(along.turns > 1 for along in sums)))
    taps *= any(along.copies_taps for along in copied)
    return round(rows + taps + results * any(along.blocks.skips.any() for along in positions))


def small_enough(lhs: int, rhs: int, out: int, alongs: Sequence[Along], max_bytes: int) -> tuple[list[Along], int]:
    """Smaller blocks, and what they take: axes are cut one after the other, as far as they must be, or as it helps."""
    alongs, bytes_ = [*alongs], 0
    for place, along in enumerate(alongs):
        costs = {}
        for length in halves(along.part.share) if along.rhs is None else [along.length]:
            alongs[place] = along._replace(length=length)
            costs[length] = bytes_of_a_block(lhs, rhs, out, alongs, in_loop=True)
        enough = max(max_bytes, 1.25 * min(costs.values()))
        length, bytes_ = next((length, cost) for length, cost in costs.items() if cost <= enough)
        alongs[place] = along._replace(length=length)
        if bytes_ <= max_bytes:
            break
    return alongs, bytes_


def in_blocks(
    convolve: Convolve, lhs: jax.Array, rhs: jax.Array, alongs: Sequence[Along], mesh: dict[str, int]
) -> jax.Array:
    """This shard's results, or its part of their sum.

    Args:
      convolve: (lhs, rhs, spatial axis -> padding) -> out.
      lhs, rhs: shards; the last ones may hold anything beyond what is real.
      alongs: for each axis that is shared out or cut.
      mesh: sizes of the mesh axes, in the order of the mesh.
    """
    spatial = [along for along in alongs if along.spatial is not None and (along.turns > 1 or along.part.shards > 1)]
    padding = {along.spatial: along.blocks.padding for along in spatial}
    alongs = [along for along in alongs if not along.is_as_it_is]
    if not alongs:
        return convolve(lhs, rhs, padding)
    shards = {along: shard_index(along.names, mesh) if along.names else 0 for along in alongs}
    here = surroundings(
        lhs, [Side(along.lhs, along.part.left, along.part.right, along.names) for along in alongs], mesh
    )
    positions = [along for along in alongs if not along.is_summed]
    sums = [along for along in alongs if along.is_summed]

    def operands(at: Sequence[Place], sum_at: Sequence[Place]) -> tuple[jax.Array, jax.Array]:
        turn = dict(zip([*positions, *sums], [*at, *sum_at], strict=True))
        firsts = [_of(along.blocks.firsts, shards[along], turn[along]) for along in alongs]
        rows = read(here, firsts, [along.blocks.rows for along in alongs], [_margins(along) for along in alongs])
        for along, first in zip(alongs, firsts, strict=True):
            if not along.has_real_rows:
                rows = _zeros_from(rows, along.lhs, along.part.size - shards[along] * along.part.own - first)
        starts = {along: _of(along.blocks.starts[None], 0, turn[along]) for along in sums}
        taps = cut(rhs, {along.other: (starts[along], along.length) for along in sums})
        for along in sums:
            taps = _real_taps(taps, along, shards[along], turn[along], starts[along])
        for along in alongs:
            if along.rhs is not None:
                taps = _zeros_from(taps, along.rhs, along.part.size - shards[along] * along.part.own)
        return rows, taps

    def results(at: Sequence[Place], block: tuple[jax.Array, jax.Array]) -> jax.Array:
        out = convolve(*block, padding)
        for along, turn in zip(positions, at, strict=True):
            if along.blocks.skips.any():
                out = cut(out, {along.other: (_of(along.blocks.skips, shards[along], turn), along.length)})
        return out

    def write(at, value, out):
        starts = [0] * out.ndim
        for along, turn in zip(positions, at, strict=True):
            starts[along.other] = _of(along.blocks.starts[None], 0, turn)
        return update(out, value, indices(starts))

    turns, sum_turns = tuple(along.turns for along in positions), tuple(along.turns for along in sums)
    none, no_sum = (0,) * len(turns), (0,) * len(sum_turns)

    def block(at) -> jax.Array:
        """A block's results, of all sums."""
        if prod(sum_turns) == 1:
            return results(at, operands(at, no_sum))
        value = jax.eval_shape(lambda: results(at, operands(at, no_sum)))
        return for_each_block(
            sum_turns,
            partial(operands, at),
            lambda _, block, total: total + results(at, block),
            jnp.zeros(value.shape, value.dtype),
        )

    if prod(turns) == 1:
        return block(none)
    value = jax.eval_shape(lambda: block(none))
    shape = [*value.shape]
    for along in positions:
        shape[along.other] = along.part.share
    out = jnp.zeros(shape, value.dtype)
    if prod(sum_turns) == 1:
        return for_each_block(
            turns, lambda at: operands(at, no_sum), lambda at, block, out: write(at, results(at, block), out), out
        )
    return for_each(turns, lambda at, out: write(at, block(at), out), out)


def _of(table: np.ndarray, shard: Place, turn: Place) -> Place:
    """What it says for this shard and turn. [shards, turns]"""
    if (table == table.flat[0]).all():
        return int(table.flat[0])
    return jnp.asarray(table, jnp.int32)[shard, turn]


def _margins(along: Along) -> tuple[int, int]:
    """How far blocks lie outside of what was received."""
    part, blocks = along.part, along.blocks
    before = -part.left - int(blocks.firsts.min())
    return max(before, 0), max(int(blocks.firsts.max()) + blocks.rows - part.own - part.right, 0)


def _zeros_from(x: jax.Array, axis: int, end: Place) -> jax.Array:
    """Zeros in place of these rows and all later ones."""
    return jnp.where(lax.broadcasted_iota(jnp.int32, x.shape, axis) < end, x, jnp.zeros_like(x))


def _real_taps(taps: jax.Array, along: Along, shard: Place, turn: Place, start: Place) -> jax.Array:
    """Zeros for those that are not real or were in the block before, and ahead of them for what is skipped."""
    blocks, axis = along.blocks, along.other
    if not along.has_real_taps:
        taps = _zeros_from(taps, axis, along.part.total - shard * along.part.share - start)
    if along.turns * along.length != along.part.share:
        is_new = lax.broadcasted_iota(jnp.int32, taps.shape, axis) >= turn * along.length - start
        taps = jnp.where(is_new, taps, jnp.zeros_like(taps))
    if blocks.skips.any():
        shape = [*taps.shape]
        shape[axis] = blocks.computed
        skip = _of(blocks.skips, shard, turn)
        taps = lax.dynamic_update_slice_in_dim(jnp.zeros(shape, taps.dtype), taps, skip, axis)
    return taps
