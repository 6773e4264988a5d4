"""The convolution of one shard, given which mesh axes share out which factor."""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry
from .factors import Axes, is_summed
from .halo import fetch, only_real, pick, place_in_zeros, shard_index
from .pieces import can_be_in_pieces, in_pieces
from .windows import Window, window

COPIES_FIT = 4  # of a window, in what may be taken, if it is to be copied


def window_of(geometry: Geometry, factor: str, shards: int) -> Window:
    """What a shard does along a spatial axis that is shared out, by positions ("p0") or by taps ("t0")."""
    axis = int(factor[1:])
    shared, summed = geometry.out_spatial[axis], geometry.kernel[axis]
    step, gap = geometry.strides[axis], geometry.rhs_dilation[axis]
    if is_summed(factor):
        shared, summed, step, gap = summed, shared, gap, step
    dilation, (low, _) = geometry.lhs_dilation[axis], geometry.padding[axis]
    return window(geometry.spatial[axis], shared, shards, step, gap * (summed - 1), dilation, low)


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
        copied; a larger one is convolved in pieces, unless it is not at the same place in all shards. None: windows are
        copied, and do not count. That is for devices other than CPUs, whose XLA may never make the copy.
      rounds_parts: whether the parts of sums are rounded before they are added up. If not, those of half types are sent
        in float32, and the sum is rounded once.
    """
    numbers = geometry.dimension_numbers
    shards = {factor: prod(mesh[name] for name in names) for factor, names in axes.items()}
    shared = {factor: count for factor, count in shards.items() if count > 1}
    groups = -(-geometry.groups // shared.get("g", 1))
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

    parts: dict[str, Window] = {}
    for factor in sorted(shared.keys() & {f"{kind}{axis}" for kind in "pt" for axis in range(geometry.ndim)}):
        axis, shard = int(factor[1:]), shard_index(axes[factor], mesh)
        lhs = only_real(lhs, shard, shared[factor], numbers.lhs_spec[2 + axis], geometry.spatial[axis])
        if is_summed(factor):
            rhs = only_real(rhs, shard, shared[factor], numbers.rhs_spec[2 + axis], geometry.kernel[axis])
        parts[factor] = window_of(geometry, factor, shared[factor])
    if "c" in shared:
        shard = shard_index(axes["c"], mesh)
        lhs = only_real(lhs, shard, shared["c"], numbers.lhs_spec[1], geometry.in_channels)
        rhs = only_real(rhs, shard, shared["c"], numbers.rhs_spec[1], geometry.in_channels)

    def padded(lhs: jax.Array, rhs: jax.Array, padding: dict[int, tuple[int, int]], taken: int = 0) -> jax.Array:
        pads = tuple(padding.get(axis, pair) for axis, pair in enumerate(geometry.padding))
        return convolve(lhs, rhs, {**params, "padding": pads}, taken)

    window_bytes = lhs.nbytes if parts and max_bytes is not None else 0
    for part in parts.values():
        window_bytes = window_bytes * part.rows // max(part.own, 1)
    is_small = window_bytes * COPIES_FIT <= (max_bytes or 0)
    if not is_small and can_be_in_pieces(parts):
        out = in_pieces(padded, lhs, rhs, geometry, parts, axes, mesh)
    else:
        out = in_one(padded, lhs, rhs, geometry, parts, axes, mesh, window_bytes if is_small else 0)
    if summed:
        out = lax.psum(out.astype(sent), summed).astype(geometry.out_dtype)
    return out


def in_one(convolve, lhs, rhs, geometry: Geometry, parts: dict[str, Window], axes, mesh, taken: int) -> jax.Array:
    """As `in_pieces`, of a copy of the window."""
    numbers, padding, cuts = geometry.dimension_numbers, {}, []
    for factor, part in parts.items():
        axis, shard = int(factor[1:]), shard_index(axes[factor], mesh)
        lhs = fetch(lhs, axes[factor], numbers.lhs_spec[2 + axis], part, mesh)
        padding[axis] = part.padding
        if is_summed(factor):
            rhs = place_in_zeros(rhs, shard, numbers.rhs_spec[2 + axis], part.skips, part.positions)
        elif part.positions > part.share:
            cuts.append((shard, numbers.out_spec[2 + axis], part))
    out = convolve(lhs, rhs, padding, taken)
    for shard, axis, part in cuts:
        out = pick(out, shard, axis, part.skips, part.share)
    return out


@cache
def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def warn_once(geometry: Geometry, refused: Sequence[str]) -> None:
    """Says what is gathered because it cannot be shared out, in a process once."""
    for what in refused:
        _warn(f"jaxconv gathers what it cannot share out, {what}, for the convolution {geometry.describe()}")
