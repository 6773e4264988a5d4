"""A convolution of arrays whose types say how they are sharded: each device the convolution of its own shards.

Nothing is left to propagate, so this asks nothing of XLA's partitioner and holds wherever the program is compiled.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from .._geometry import Geometry
from .factors import Axes, divide, factors_of, partition_spec, spec_of
from .shard import convolve_shard, warn_once


def explicit_mesh(avals: Any) -> Any:
    """The mesh that these types are about, if all its axes are explicit and divide anything; else None."""
    meshes = [aval.sharding.mesh for aval in avals]
    explicit = all(mesh.are_all_axes_explicit and mesh == meshes[0] for mesh in meshes)
    return meshes[0] if explicit and not meshes[0].empty and meshes[0].size > 1 else None


def shared_out_by_types(
    convolve: Callable[..., jax.Array],
    geometry: Geometry,
    params: dict[str, Any],
    mesh: Any,
    avals: Any,
    max_bytes: int | None,
    rounds_parts: bool,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(lhs, rhs) -> out of these types.

    Args:
      convolve: (lhs, rhs, parameters of lax's convolution, bytes that are taken) -> out, for any shard.
      geometry, params: the whole convolution.
      mesh: of the types.
      avals: types of lhs, rhs and out.
      max_bytes, rounds_parts: as in `convolve_shard`.
    """
    factors = factors_of(geometry)
    arrays = factors.lhs, factors.rhs, factors.out
    lhs, rhs, out = zip(arrays, [_split(aval.sharding.spec) for aval in avals], strict=True)
    division = divide(factors, [out, lhs, rhs], dict(mesh.shape))
    warn_once(geometry, division.refused)

    sizes = dict(mesh.shape)
    specs = [spec_of(array, division.axes) for array in arrays]
    lhs_spec, rhs_spec, out_spec = map(partition_spec, specs)
    local = partial(
        convolve_shard,
        convolve,
        geometry=geometry,
        params=params,
        axes=division.axes,
        mesh=sizes,
        max_bytes=max_bytes,
        rounds_parts=rounds_parts,
    )

    def even(array: jax.Array, spec: list[Axes]) -> jax.Array:
        """With zeros at the end of axes that do not come out even. Such an axis is not sharded as yet."""
        shards = [prod(sizes[name] for name in names) for names in spec]
        return jnp.pad(array, [(0, -size % count) for size, count in zip(array.shape, shards, strict=True)])

    def shared_out(lhs, rhs):
        with jax.sharding.use_abstract_mesh(mesh):
            lhs, rhs = jax.reshard(even(lhs, specs[0]), lhs_spec), jax.reshard(even(rhs, specs[1]), rhs_spec)
            shard_map = jax.shard_map(local, in_specs=(lhs_spec, rhs_spec), out_specs=out_spec, check_vma=False)
            out = jax.reshard(shard_map(lhs, rhs), avals[2].sharding.spec)
            return lax.slice(out, [0] * out.ndim, avals[2].shape)

    return shared_out


def _split(spec: PartitionSpec) -> list[Axes]:
    """The mesh axes of each array axis."""
    return [() if names is None else names if isinstance(names, tuple) else (names,) for names in spec]
