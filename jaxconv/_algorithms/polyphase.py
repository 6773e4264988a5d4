"""Transposed convolutions, and input gradients of strided ones, without multiplying zeros.

A dilated lhs is mostly zeros. Taken apart into phases (`_phases` has the derivation), the convolution is one
convolution of the input as it is for each phase of the output, with the taps that meet elements there, and the phases'
outputs are interleaved. Each is handed to the algorithm that suits it: a product of matrices where one tap is left, or,
in the weight gradient of a transposed convolution, few outputs; otherwise the compiler's dense convolution.
"""

from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import prod

import jax
import jax.numpy as jnp

from .._algorithm import either
from .._chunk import Kernel
from .._chunks import chunked
from .._geometry import Geometry, dilated
from .._phases import Phase, axis_phases, interleave, phase_outputs, too_many
from .._summands import added_up
from . import _onednn, kn2row
from ._onednn_call import bytes_of_pairs

MAX_POSITIONS = 4  # of each phase, for products of matrices


@lru_cache(1024)
def counts(geometry: Geometry) -> list[int]:
    """Outputs of the longest phase along each axis."""
    return phase_outputs(axis_phases(geometry), geometry.out_spatial)


def phase_geometry(geometry: Geometry, axes: tuple[Phase, ...]) -> Geometry:
    """The convolution that one phase along each axis is."""
    padding = []
    for size, count, phase in zip(geometry.spatial, counts(geometry), axes, strict=True):
        reach = (count - 1) * phase.stride + dilated(phase.taps, phase.spread)
        padding.append((phase.low, reach - phase.low - size))
    return replace(
        geometry,
        kernel=tuple(phase.taps for phase in axes),
        strides=tuple(phase.stride for phase in axes),
        rhs_dilation=tuple(phase.spread for phase in axes),
        lhs_dilation=(1,) * geometry.ndim,
        padding=tuple(padding),
    )


def by_position(phase: Geometry) -> bool:
    """Whether a product of matrices for each output is the way."""
    return phase.few_positions and prod(phase.out_spatial) <= MAX_POSITIONS


def compute(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, C], rhs [*K, C, G, O] -> [N, *S', G, O]."""
    g = geometry

    def convolve_phase(axes: tuple[Phase, ...]) -> jax.Array:
        if not all(phase.taps for phase in axes):
            return jnp.zeros((g.batch, *counts(g), g.groups, g.out_channels), g.out_dtype)
        part = phase_geometry(g, axes)
        taps = rhs[tuple(slice(phase.first, None, phase.step) for phase in axes)]
        if prod(part.kernel) == 1:
            return kn2row.compute(lhs, (taps, "cgo"), part).astype(g.out_dtype)
        if by_position(part):
            return kn2row.by_position(lhs, taps, part).astype(g.out_dtype)
        merged = lhs.reshape(*lhs.shape[:-2], -1), taps.reshape(*taps.shape[:-2], -1)
        return _onednn.convolve(*merged, part).reshape(g.batch, *counts(g), g.groups, g.out_channels)

    return interleave(axis_phases(g), convolve_phase, range(1, 1 + g.ndim), g.out_spatial)


def workspace(geometry: Geometry) -> int:
    """Bytes of the phases' outputs and taps, and of what their products need. Interleaving writes the result."""
    g = geometry
    itemsize, out_itemsize = jnp.dtype(g.dtype).itemsize, jnp.dtype(g.out_dtype).itemsize
    alive = [[phase for phase in each if phase.taps] for each in axis_phases(g)]
    outputs = g.batch * prod(counts(g)) * prod(map(len, alive)) * g.groups * g.out_channels
    taps = prod(g.kernel) * g.in_channels * g.groups * g.out_channels
    products = 0
    for part in (phase_geometry(g, axes) for axes in product(*alive)):
        if prod(part.kernel) == 1:
            products = max(products, kn2row.workspace(part))
        elif by_position(part):
            products = max(products, kn2row.by_position_workspace(part))
        else:
            products = max(products, bytes_of_pairs(part))
    return outputs * out_itemsize + taps * itemsize + products


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    if max(geometry.lhs_dilation, default=1) == 1:
        return "lhs_dilation is 1 along all axes, so there is but one phase"
    if geometry.groups > 1:
        return f"its phases would be grouped convolutions ({geometry.groups} groups), which the compiler does badly"
    return too_many(geometry)


ALGORITHM = either(
    lambda geometry: geometry.few_positions,
    yes=added_up(compute, workspace, refuses),
    no=chunked(Kernel(compute, workspace), refuses),
)._replace(ends_in_xla=True)
