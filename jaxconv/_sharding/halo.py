"""What the shards of an array send each other: the rows next to theirs."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .windows import Window

AxisName = Any  # one name of a mesh axis, or a tuple of several: any hashable


def halo_exchange(
    x: ArrayLike, axis_name: AxisName, *, axis: int, low: int, high: int, boundary: str = "zeros"
) -> jax.Array:
    """A shard with the rows next to it, which other shards have. For use inside `jax.shard_map`.

    Each neighbour that has such rows costs one collective-permute of exactly those rows: two in all, unless they are
    more than a shard has. Its derivative sends the cotangents of those rows back.

    Args:
      x: one shard of an array that is split evenly along `axis`; any dtype.
      axis_name: mesh axis that it is split over, or a tuple of them, the one of the largest steps first.
      axis: which axis of x; negative counts from the last.
      low: rows to receive of the shards before, 0 or more.
      high: the same of the shards after.
      boundary: what lies beyond the whole array: "zeros", or "circular", its other end.

    Returns:
      x with `low` rows more in front and `high` more behind.

    Raises:
      ValueError: for a negative number of rows, an axis that x does not have, or an unknown boundary.
      NameError: where there is no such mesh axis: outside of `jax.shard_map`.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> from functools import partial
    >>> from jax.sharding import PartitionSpec as P
    >>> mesh = jax.make_mesh((1,), ("rows",))
    >>> exchange = partial(jaxconv.halo_exchange, axis_name="rows", axis=0, low=1, high=2, boundary="circular")
    >>> ring = jax.shard_map(exchange, mesh=mesh, in_specs=P("rows"), out_specs=P("rows"))
    >>> ring(jnp.arange(4)).tolist()
    [3, 0, 1, 2, 3, 0, 1]
    """
    x = jnp.asarray(x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"halo_exchange axis must be one of the {x.ndim} axes of x, got {axis}")
    for name, rows in (("low", low), ("high", high)):
        if rows < 0:
            raise ValueError(f"halo_exchange {name} must be 0 or more, got {rows}")
    if boundary not in ("zeros", "circular"):
        raise ValueError(f"halo_exchange boundary must be 'zeros' or 'circular', got {boundary!r}")
    axis %= x.ndim
    circular = boundary == "circular"
    before = _received(x, axis_name, axis, low, 1, circular)
    after = _received(x, axis_name, axis, high, -1, circular)
    parts = [*reversed(before), x, *after]
    return jnp.concatenate(parts, axis) if len(parts) > 1 else x


def _received(x, axis_name, axis, rows, direction, circular) -> list[jax.Array]:
    """Rows of the shards on one side, nearest shard first. Direction 1: from those before, their last rows."""
    shards, own = lax.axis_size(axis_name), x.shape[axis]
    if rows and not own:
        raise ValueError(f"halo_exchange of an empty shard: {x.shape}, axis {axis}")
    parts = []
    for hop in range(1, -(-rows // own) + 1 if rows else 1):
        width = min(own, rows - (hop - 1) * own)
        sent = (
            lax.slice_in_dim(x, own - width, own, axis=axis)
            if direction == 1
            else x[(slice(None),) * axis + (slice(width),)]
        )
        targets = [(shard, shard + direction * hop) for shard in range(shards)]
        if circular:
            targets = [(source, target % shards) for source, target in targets]
        else:
            targets = [(source, target) for source, target in targets if 0 <= target < shards]
        # To itself alone: no message.
        alone = all(source == target for source, target in targets)
        parts.append((sent if targets else jnp.zeros_like(sent)) if alone else lax.ppermute(sent, axis_name, targets))
    return parts


def fetch(x: jax.Array, axis_name: AxisName, axis: int, window: Window) -> jax.Array:
    """The window of this shard: its rows of x and the others' that it needs, zeros where nobody has any."""
    x = halo_exchange(x, axis_name, axis=axis, low=window.left, high=window.right)
    before = max(0, -min(window.starts))
    after = max(0, max(window.starts) + window.rows - x.shape[axis])
    if before or after:
        pads = [(0, 0)] * x.ndim
        pads[axis] = before, after
        x = jnp.pad(x, pads)
    return pick(x, axis_name, axis, [start + before for start in window.starts], window.rows)


def pick(x: jax.Array, axis_name: AxisName, axis: int, starts: Sequence[int], rows: int) -> jax.Array:
    """So many rows of x from where it says for this shard."""
    if len(set(starts)) == 1:
        return lax.slice_in_dim(x, starts[0], starts[0] + rows, axis=axis)
    start = jnp.asarray(starts, jnp.int32)[lax.axis_index(axis_name)]
    return lax.dynamic_slice_in_dim(x, start, rows, axis, allow_negative_indices=False)


def place_in_zeros(x: jax.Array, axis_name: AxisName, axis: int, starts: Sequence[int], rows: int) -> jax.Array:
    """The way back from `pick`: so many rows of zeros with x among them, from where it says for this shard."""
    if max(starts) == 0 and rows == x.shape[axis]:
        return x
    shape = [*x.shape]
    shape[axis] = rows
    start = jnp.asarray(starts, jnp.int32)[lax.axis_index(axis_name)]
    return lax.dynamic_update_slice_in_dim(jnp.zeros(shape, x.dtype), x, start, axis)


def only_real(x: jax.Array, axis_name: AxisName, axis: int, size: int) -> jax.Array:
    """Zeros for the rows of the last shards that are there to make all shards equal, which hold anything."""
    own = x.shape[axis]
    if own * lax.axis_size(axis_name) == size:
        return x
    row = lax.axis_index(axis_name) * own + lax.broadcasted_iota(jnp.int32, x.shape, axis)
    return jnp.where(row < size, x, jnp.zeros_like(x))
