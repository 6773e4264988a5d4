"""What the shards of an array send each other: the rows next to theirs."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._geometry import ceil_div
from .factors import Axes

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
    >>> from jax.sharding import AxisType, PartitionSpec as P
    >>> mesh = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Auto,))
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
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    axis, sizes, circular = axis % x.ndim, in_mesh_order(names), boundary == "circular"
    before = _received(x, names, axis, low, 1, sizes, circular)
    after = _received(x, names, axis, high, -1, sizes, circular)
    parts = [*reversed(before), x, *after]
    return jnp.concatenate(parts, axis) if len(parts) > 1 else x


def in_mesh_order(names: Sequence[Any]) -> dict[Any, int]:
    """The sizes of these manual axes, in the order in which the mesh has them."""
    sizes = {name: lax.axis_size(name) for name in names}
    if len(sizes) < 2:
        return sizes
    order = jax.sharding.get_abstract_mesh().axis_names
    return {name: sizes[name] for name in sorted(sizes, key=order.index)}


def _received(x, names, axis, rows, direction, mesh, circular) -> list[jax.Array]:
    """Rows of the shards on one side, nearest shard first. Direction 1: from those before, their last rows."""
    own = x.shape[axis]
    if rows and not own:
        raise ValueError(f"halo_exchange of an empty shard: {x.shape}, axis {axis}")
    parts = []
    for hop in range(1, ceil_div(rows, own) + 1 if rows else 1):
        width = min(own, rows - (hop - 1) * own)
        sent = lax.slice_in_dim(x, *((own - width, own) if direction == 1 else (0, width)), axis=axis)
        parts.append(passed_on(sent, names, direction * hop, mesh, circular))
    return parts


def passed_on(sent: jax.Array, names: Axes, hops: int, mesh: dict[str, int], circular: bool = False) -> jax.Array:
    """What the shard so many before this one sends; zeros where there is none."""
    # Of several axes JAX counts the devices of a message in the order of the mesh, whatever the order of their names.
    ordered = tuple(name for name in mesh if name in names)
    sizes = [mesh[name] for name in ordered]
    devices = np.arange(prod(sizes)).reshape(sizes).transpose([ordered.index(name) for name in names]).ravel().tolist()
    shards = range(len(devices))
    pairs = [(shard, shard + hops) for shard in shards]
    pairs = [(source, target % len(shards)) for source, target in pairs if circular or target in shards]
    if not pairs:  # beyond the array
        return jnp.zeros_like(sent)
    if all(source == target for source, target in pairs):
        return sent
    return lax.ppermute(sent, ordered, [(devices[source], devices[target]) for source, target in pairs])


def shard_index(names: Axes, mesh: dict[str, int]) -> jax.Array:
    """Which shard this is."""
    index = jnp.int32(0)
    for name in names:
        index = index * mesh[name] + lax.axis_index(name)
    return index
