"""How XLA shares out a convolution whose arrays are sharded: each device the convolution of its own shards.

XLA's partitioner sees one operation. It propagates shardings through it by the rule of `factors`, asks here for the
program of one shard once they are settled, and resolves whatever else was asked for around it. What a shard computes
is a convolution again, whose algorithm is chosen for its own size.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from .._geometry import Geometry
from .factors import Axes, divide, factors_of, prime_steps, propagation_rule, spec_of
from .shard import convolve_shard, warn_once


def shared_out_by_xla(
    convolve: Callable[..., jax.Array], geometry: Geometry, params: dict[str, Any], identity: str
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(lhs, rhs) -> out, that XLA shares out as said above.

    Args:
      convolve: (lhs, rhs, parameters of lax's convolution) -> out, for any shard.
      geometry, params: the whole convolution.
      identity: what `convolve` goes by, as text. XLA's programs are cached on disk by their text, in which the Python
        that they will ask is not; this is.
    """
    factors = factors_of(geometry)

    def whole(lhs, rhs):
        return convolve(lhs, rhs, {**params, "out_sharding": None})

    def partition(mesh, operands, result):
        return _program_of_a_shard(convolve, geometry, params, mesh, operands, result)

    shared_out = custom_partitioning(whole)
    # The rule's shardings are read here rather than by JAX, which knows none that splits an axis of the mesh.
    shared_out.def_partition(partition, sharding_rule=propagation_rule(factors), decode_shardings=False)

    def named(lhs, rhs):
        return shared_out(lhs, rhs)

    named.__name__ = f"jaxconv_{hashlib.sha256(f'{geometry} {identity}'.encode()).hexdigest()[:16]}"
    return jax.jit(named)


def _program_of_a_shard(convolve, geometry, params, mesh, operands, result):
    """As `custom_partitioning` wants it: mesh, function of a shard, shardings of the result and of the operands."""
    factors = factors_of(geometry)
    arrays = *operands, result
    mesh = _fine(mesh, arrays)
    sizes = dict(mesh.shape)
    split = [_read(array, mesh, geometry) for array in arrays]
    lhs, rhs, out = zip((factors.lhs, factors.rhs, factors.out), split, strict=True)
    division = divide(factors, [out, lhs, rhs], sizes)
    warn_once(geometry, division.refused)

    def sharding(array):
        return NamedSharding(mesh, PartitionSpec(*(names or None for names in spec_of(array, division.axes))))

    local = partial(convolve_shard, convolve, geometry=geometry, params=params, axes=division.axes, mesh=sizes)

    def shard(lhs, rhs):
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):  # of the caller's explicit axes nothing is left here
            return local(lhs, rhs)

    return mesh, shard, sharding(factors.out), (sharding(factors.lhs), sharding(factors.rhs))


def _fine(mesh: Mesh, arrays: Any) -> Mesh:
    """The mesh with its axes split into axes of prime sizes: XLA may split one of them between factors."""
    if mesh.empty:
        devices = next(list(array.sharding.devices_indices_map(())) for array in arrays if array.sharding is not None)
        mesh = Mesh(np.array(devices), ("devices",))
    names, sizes = [], []
    for name, size in mesh.shape.items():
        for i, prime in enumerate(prime_steps(size)):
            names.append(f"{name}.{i}")
            sizes.append(prime)
    return Mesh(mesh.devices.reshape(sizes), names, axis_types=(AxisType.Auto,) * len(names))


def _read(array: Any, mesh: Mesh, geometry: Geometry) -> list[Axes]:
    """The mesh axes that each axis of an array is split over, read off where each device's part begins."""
    if array.sharding is None or not array.shape or array.sharding.is_fully_replicated:
        return [()] * len(array.shape)
    devices = mesh.devices
    # Along an axis of as many elements as there are devices any number of parts is even.
    parts = array.sharding.devices_indices_map((devices.size,) * len(array.shape))
    begins = np.array([[part.start or 0 for part in parts[device]] for device in devices.flat])
    begins = begins.reshape(*devices.shape, len(array.shape))
    split: list[Axes] = []
    expected = np.zeros_like(begins)
    for axis in range(len(array.shape)):
        steps = {}
        for i, name in enumerate(mesh.axis_names):
            neighbour = tuple(int(i == j) for j in range(devices.ndim))
            if step := int(begins[*neighbour, axis]):
                steps[name] = step
                expected[..., axis] += step * np.indices(devices.shape)[i]
        split.append(tuple(sorted(steps, key=lambda name: -steps[name])))
    if not np.array_equal(begins, expected):
        warn_once(geometry, [f"a sharding that does not follow the axes of the mesh: {array.sharding}"])
        return [()] * len(array.shape)
    return split
