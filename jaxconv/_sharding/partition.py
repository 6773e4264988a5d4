"""How XLA shares out a convolution whose arrays are sharded: each device the convolution of its own shards.

XLA's partitioner sees one operation. It propagates shardings through it by the rule of `factors`, asks here for the
program of one shard once they are settled, and resolves whatever else was asked for around it. What a shard computes
is a convolution again, whose algorithm is chosen for its own size.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding

from .._geometry import Geometry
from .._machine import version
from .factors import Axes, divide, factors_of, partition_spec, propagation_rule, spec_of
from .shard import convolve_shard, warn_once


def shared_out_by_xla(
    convolve: Callable[..., jax.Array],
    geometry: Geometry,
    params: dict[str, Any],
    identity: str,
    max_bytes: int | None,
    rounds_parts: bool,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(lhs, rhs) -> out, that XLA shares out as said above.

    Args:
      convolve: (lhs, rhs, parameters of lax's convolution, bytes that are taken) -> out, for any shard.
      geometry, params: the whole convolution.
      max_bytes, rounds_parts: as in `convolve_shard`.
      identity: what `convolve` goes by, as text. XLA's programs are cached on disk by their text, in which the Python
        that they will ask is not; this is, with the version of jaxconv.
    """
    factors = factors_of(geometry)

    def whole(lhs, rhs):
        return convolve(lhs, rhs, {**params, "out_sharding": None}, 0)

    local = partial(
        convolve_shard, convolve, geometry=geometry, params=params, max_bytes=max_bytes, rounds_parts=rounds_parts
    )

    def partition(mesh, operands, result):
        return _program_of_a_shard(local, geometry, mesh, operands, result)

    shared_out = custom_partitioning(whole)
    # The rule's shardings are read here rather than by JAX, which knows none that splits an axis of the mesh.
    shared_out.def_partition(partition, sharding_rule=propagation_rule(factors), decode_shardings=False)

    def named(lhs, rhs):
        return shared_out(lhs, rhs)

    everything = f"{version('jaxconv')} {geometry} {identity}"
    named.__name__ = f"jaxconv_{hashlib.sha256(everything.encode()).hexdigest()[:16]}"
    return jax.jit(named)


def flat_mesh(devices: int) -> AbstractMesh:
    """So many devices in a row. What mesh they are to the caller does not matter: see `_read`."""
    return AbstractMesh((devices,), ("devices",))


def _program_of_a_shard(local, geometry, mesh, operands, result):
    """As `custom_partitioning` wants it: mesh, function of a shard, shardings of the result and of the operands."""
    factors = factors_of(geometry)
    mesh, (lhs, rhs, out) = _read(mesh, (*operands, result), geometry)
    sizes = dict(mesh.shape)
    division = divide(factors, [(factors.out, out), (factors.lhs, lhs), (factors.rhs, rhs)], sizes)
    warn_once(geometry, division.refused)

    def sharding(array):
        return NamedSharding(mesh, partition_spec(spec_of(array, division.axes)))

    def shard(lhs, rhs):
        with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):  # of the caller's explicit axes nothing is left here
            return local(lhs, rhs, axes=division.axes, mesh=sizes)

    return mesh, shard, sharding(factors.out), (sharding(factors.lhs), sharding(factors.rhs))


def _read(mesh: Mesh, arrays: Sequence[Any], geometry: Geometry) -> tuple[Mesh, list[list[Axes]]]:
    """A mesh whose axes split the arrays, and the axes that split each axis of each array.

    XLA splits arrays into tiles and has forgotten whose mesh that was; it may also have split an axis of it between two
    factors. So the axes here have prime sizes, in an order that fits the tiles.
    """
    begins = [_begins(array, list(mesh.devices.flat)) for array in arrays]
    for sizes in _orders(_primes(mesh.size)):
        found = [_split(begin.reshape(*sizes, begin.shape[-1])) for begin in begins]
        split = [one for one in found if one is not None]
        if len(split) == len(arrays):
            names = [_name(axis) for axis in range(len(sizes))]
            return Mesh(mesh.devices.reshape(sizes), names, axis_types=(AxisType.Auto,) * len(sizes)), split
    warn_once(geometry, [f"shardings that are not of one mesh ({', '.join(str(array.sharding) for array in arrays)})"])
    return mesh, [[()] * len(array.shape) for array in arrays]


def _begins(array: Any, devices: list[Any]) -> np.ndarray:
    """Where the part of each device begins along each axis, as if the axes had as many elements as there are devices:
    any number of parts is even then. [devices, axes]"""
    if array.sharding is None or array.sharding.is_fully_replicated:
        return np.zeros((len(devices), len(array.shape)), int)
    parts = array.sharding.devices_indices_map((len(devices),) * len(array.shape))
    return np.array([[part.start or 0 for part in parts[device]] for device in devices])


def _split(begins: np.ndarray) -> list[Axes] | None:
    """The mesh axes that split each array axis, or None if they are not what splits them. [*mesh sizes, axes]"""
    sizes = begins.shape[:-1]
    places = np.indices(sizes)
    split: list[Axes] = []
    for axis in range(begins.shape[-1]):
        steps = [int(begins[(*np.eye(len(sizes), dtype=int)[i], axis)]) for i in range(len(sizes))]
        if not np.array_equal(begins[..., axis], np.tensordot(steps, places, 1)):
            return None
        order = sorted((i for i, step in enumerate(steps) if step), key=lambda i: -steps[i])
        split.append(tuple(map(_name, order)))
    return split


def _name(axis: int) -> str:
    return f"axis {axis}"


def _primes(size: int) -> list[int]:
    """In ascending order."""
    primes, divisor = [], 2
    while size > 1:
        while size % divisor == 0:
            primes.append(divisor)
            size //= divisor
        divisor += 1
    return primes


def _orders(primes: list[int]) -> Iterator[list[int]]:
    """All different orders of them."""
    if not primes:
        yield []
    for first in sorted(set(primes)):
        rest = list(primes)
        rest.remove(first)
        for order in _orders(rest):
            yield [first, *order]
