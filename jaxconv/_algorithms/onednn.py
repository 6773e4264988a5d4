"""The direct sum by oneDNN's kernels, made for this processor when they are first called.

    out[n, s, g, o] = sum over k, c of  lhs[n, stride * s + rhs_dilation * k, g, c] * rhs[k, c, g, o]

Taps are put in blocks of output channels that fill the processor's registers; a row of outputs is then a sequence of
small products of matrices, one for each tap, added up in registers (Georganas et al. 2018, arXiv 1808.05567; Georganas
et al. 2020, arXiv 1906.06440). Padding is skipped, not stored, and lhs is read where it is. Groups of one channel are
multiplied elementwise, groups of a few together.

What XLA does with a weight gradient, `strips` does with it: its dense convolution is oneDNN's where there is one, as
are those of `polyphase` and `karatsuba`.
"""

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp

from .._chunks import Kernel, chunked, in_canonical_order
from .._geometry import Geometry
from .._layout import channels_last
from . import _onednn

BLOCK = 64  # output channels of a block of taps


def prepare(rhs: jax.Array, letters: str, geometry: Geometry) -> tuple[jax.Array, bool]:
    """[*K, I, G * O] or [*K, G * O, I], as it is stored where that is one of these, and whether inputs come first."""
    g = geometry
    channels = letters.replace("g", "") if g.groups == 1 else letters
    if channels not in ("co", "oc", "cgo", "goc"):
        rhs, channels = in_canonical_order(rhs, letters, g), "cgo"
    inputs_first = channels.startswith("c")
    sizes = (g.in_channels, g.groups * g.out_channels) if inputs_first else (g.groups * g.out_channels, g.in_channels)
    return rhs.reshape(*g.kernel, *sizes), inputs_first


def compute(lhs: jax.Array, prepared: tuple[jax.Array, bool], geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, C] and taps -> [N, *S', G, O]."""
    g, rank = geometry, geometry.ndim
    rhs, inputs_first = prepared
    numbers = channels_last(rank)
    if not inputs_first:
        numbers = numbers._replace(rhs_spec=(rank, rank + 1, *range(rank)))
    flat = replace(g, dimension_numbers=numbers, batch_grouped=False)
    out = _onednn.convolve(lhs.reshape(g.batch, *g.spatial, -1), rhs, flat)
    return out.reshape(g.batch, *g.out_spatial, g.groups, g.out_channels)


def workspace(geometry: Geometry) -> int:
    """Bytes of the taps in the order that is handed over and in oneDNN's blocks, and of lhs without what is cropped."""
    g = geometry
    itemsize = jnp.dtype(g.dtype).itemsize
    outputs = -(-g.out_channels // BLOCK) * BLOCK if g.groups == 1 else g.out_channels
    total = 2 * prod(g.kernel) * g.in_channels * g.groups * outputs * itemsize
    if any(side < 0 for pair in g.padding for side in pair):
        total += g.batch * prod(g.spatial) * g.groups * g.in_channels * itemsize
    return total


ALGORITHM = chunked(Kernel(compute, workspace, prepare, fuses=False), _onednn.refuses)._replace(is_portable=False)
