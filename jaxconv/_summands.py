"""Compute a convolution a few of the summed channels at a time: for weight gradients, whose summed channels are images.

The output of such a convolution, the taps, is small, its operands are large and its sum is long.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from ._chunks import part, whole
from ._geometry import Geometry
from ._tiling import MAX_WORKSPACE_BYTES, for_each

Workspace = Callable[[Geometry], int]


def summands_at_once(geometry: Geometry, workspace: Workspace, max_bytes: int) -> int:
    """How many of the summed channels fit under the bound together, a divisor of their number; 0 if not even one."""
    channels = geometry.in_channels
    sizes = (size for size in range(channels, 0, -1) if channels % size == 0)
    return next((size for size in sizes if workspace(replace(geometry, in_channels=size)) <= max_bytes), 0)


def too_big_summands(geometry: Geometry, workspace: Workspace, max_bytes: int = MAX_WORKSPACE_BYTES) -> str:
    """Why it cannot be done within the bound, or ""."""
    if summands_at_once(geometry, workspace, max_bytes):
        return ""
    least = workspace(replace(geometry, in_channels=1))
    return f"it needs {least} bytes of workspace at least, and may take {max_bytes}"


def in_summands(
    compute: Callable[[jax.Array, jax.Array, Geometry], jax.Array],
    workspace: Workspace,
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: Geometry,
    max_bytes: int,
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts.

    `compute(lhs [N, *S, G, C], rhs [*K, C, G, O], geometry) -> [N, *S', G, O]` for some of the channels C.
    """
    g = geometry
    channels = max(1, summands_at_once(g, workspace, max_bytes))
    small = replace(part(g, whole(g)), in_channels=channels)
    if channels == g.in_channels:
        total = compute(g.lhs_layout.whole(lhs), g.rhs_layout.whole(rhs), small)
        return g.out_layout.stored(total.astype(g.out_dtype))

    def some(index, total):
        first = index[0] * channels
        left = g.lhs_layout.read(lhs, (*(0,) * (g.ndim + 2), first), (g.batch, *g.spatial, g.groups, channels))
        right = g.rhs_layout.read(rhs, (*(0,) * g.ndim, first, 0, 0), (*g.kernel, channels, g.groups, g.out_channels))
        return total + compute(left, right, small)

    shape = (g.batch, *g.out_spatial, g.groups, g.out_channels)
    total = for_each((g.in_channels // channels,), some, jnp.zeros(shape, g.accumulator))
    return g.out_layout.stored(total.astype(g.out_dtype))
