"""The convolution of one shard, given which mesh axes share out which factor."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry, ceil_div
from .along import axes_of
from .blocks import bytes_of_a_block, in_blocks, small_enough
from .factors import Axes, is_summed
from .pieces import in_pieces, regular_windows

COPIES_FIT = 4  # of a window, in what may be taken, if it is to be copied


def convolve_shard(
    convolve: Callable[..., jax.Array],
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: Geometry,
    params: dict[str, Any],
    axes: dict[str, Axes],
    mesh: dict[str, int],
    max_bytes: int | None,
    rounds_parts: bool = False,
    is_differentiated: bool = False,
) -> jax.Array:
    """This shard's part of the convolution.

    Rows of neighbours are fetched along axes whose positions or taps are shared out; the parts of sums are added up
    over all mesh axes at once.

    Args:
      convolve: (lhs, rhs, parameters of lax's convolution, bytes that are taken) -> out.
      lhs, rhs: shards; the last ones may hold anything beyond what is real.
      geometry: the whole convolution.
      params: the same as lax's parameters.
      axes: factor -> mesh axes.
      mesh: sizes of the mesh axes, in the order of the mesh.
      max_bytes: what may be taken beside operands, halos and the result. A window that is small next to that is
        copied; of a larger one the shard's own rows are convolved where they lie, or it is convolved a block at a time.
        None: windows are copied, and do not count. That is for devices other than CPUs, whose XLA may never do so.
      rounds_parts: whether the parts of sums are rounded before they are added up. If not, those of half types are sent
        in float32, and the sum is rounded once.
      is_differentiated: whether JAX may do that to what is done here. No loops then: it would keep all their blocks.
    """
    shards = {factor: prod(mesh[name] for name in names) for factor, names in axes.items()}
    shared = {factor: count for factor, count in shards.items() if count > 1}
    groups = ceil_div(geometry.groups, shared.get("g", 1))
    params = {
        **params,
        "feature_group_count": 1 if geometry.batch_grouped else groups,
        "batch_group_count": groups if geometry.batch_grouped else 1,
        "out_sharding": None,
    }
    summed = tuple(name for factor in shared if is_summed(factor) for name in axes[factor])
    inexact = jnp.issubdtype(geometry.out_dtype, np.inexact)
    sent = np.dtype(geometry.out_dtype) if rounds_parts and inexact else geometry.accumulator
    if summed and inexact:
        params["preferred_element_type"] = sent

    def padded(lhs: jax.Array, rhs: jax.Array, padding: Mapping[Any, tuple[int, int]]) -> jax.Array:
        pads = tuple(padding.get(axis, pair) for axis, pair in enumerate(geometry.padding))
        return convolve(lhs, rhs, {**params, "padding": pads}, taken)

    shape, taken = _shape_of_results(lhs, rhs, geometry, shards, groups), 0
    if geometry.is_empty:
        return jnp.zeros(shape, geometry.out_dtype)
    alongs, windows = axes_of(lhs, geometry, axes, shards), []
    if max_bytes is not None:
        sizes, most = (lhs.nbytes, rhs.nbytes, prod(shape) * geometry.accumulator.itemsize), max_bytes // COPIES_FIT
        taken = bytes_of_a_block(*sizes, alongs, in_loop=False)
        if taken > most:
            # Of half types XLA:CPU would write the edges into a copy of all results.
            in_place = is_differentiated or summed or np.dtype(geometry.out_dtype).itemsize >= 4
            windows, taken = regular_windows(alongs) if in_place else [], 0
            if not windows and not is_differentiated:
                alongs, taken = small_enough(*sizes, alongs, most)
                taken = min(taken, most)  # more is what one position meets, of halos as wide as that
    if inexact and any(along.is_summed and along.turns > 1 for along in alongs):
        params["preferred_element_type"] = geometry.accumulator
    out = in_pieces(padded, lhs, rhs, windows, mesh) if windows else in_blocks(padded, lhs, rhs, alongs, mesh)
    if summed:
        out = lax.psum(out.astype(sent), summed)
    return out.astype(geometry.out_dtype)


def _shape_of_results(lhs, rhs, geometry: Geometry, shards: dict[str, int], groups: int) -> list[int]:
    """Of a shard."""
    numbers, shape = geometry.dimension_numbers, [0] * lhs.ndim
    images = lhs.shape[numbers.lhs_spec[0]] // (groups if geometry.batch_grouped else 1)
    space = [ceil_div(count, shards.get(f"p{axis}", 1)) for axis, count in enumerate(geometry.out_spatial)]
    for axis, size in zip(numbers.out_spec, (images, rhs.shape[numbers.rhs_spec[0]], *space), strict=True):
        shape[axis] = size
    return shape


@cache
def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def warn_once(geometry: Geometry, refused: Sequence[str]) -> None:
    """Says what is gathered because it cannot be shared out, in a process once."""
    for what in refused:
        _warn(f"jaxconv gathers what it cannot share out, {what}, for the convolution {geometry.describe()}")
