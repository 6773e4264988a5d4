"""The direct sum by oneDNN's kernels, made for this processor when they are first called.

    out[n, s, g, o] = sum over k, c of  lhs[n, stride * s + rhs_dilation * k, g, c] * rhs[k, c, g, o]

Taps are put in blocks of output channels that fill the processor's registers; a row of outputs is then a sequence of
small products of matrices, one for each tap, added up in registers (Georganas et al. 2018, arXiv 1808.05567; Georganas
et al. 2020, arXiv 1906.06440). Padding is skipped, not stored, and lhs is read where it is. Groups of one channel are
multiplied elementwise, groups of a few together.

A weight gradient, few positions with very many taps, is no convolution that it does well as it is: the positions along
an axis are too few to be rows of a matrix. So a dense one gets the images, which are many, for its last spatial axis,

    out[s, n, o] = sum over k, c of  lhs[stride * s + rhs_dilation * k, n, c] * rhs[k, c, o]

where all that is stored in another order is c, the images of the layer whose weights they are: with one of them at a
time nothing is turned, with a few the products of matrices are better. In volumes, which would have an axis too many,
the sum goes through the taps along the first axis, and the planes of lhs that one of them meets are images; they lie as
they are stored. And a depthwise one is added up from depthwise
convolutions of one channel c each, which are these images as they are stored, or rows of one that is large.

The dense convolutions of `strips`, `polyphase` and `karatsuba` are oneDNN's, too, where there is one.
"""

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._algorithm import either
from .._chunk import Kernel, in_canonical_order
from .._chunks import chunked
from .._cut import Cut, results
from .._geometry import Geometry, ceil_div, with_axis, without_axis
from .._layout import channels_last
from .._summands import added_up
from . import _onednn
from ._onednn_call import bytes_of_pairs

BLOCK = 64  # output channels of a block of taps
LEAST_BLOCK = 16  # where there are no more than those of one
MAX_CHANNELS = 8  # of parts of a sum: with fewer rows of taps and more channels, or the other way round, slower
CACHED_BYTES = 2 * 2**20  # of rhs in such a part, which each row of results goes through: more is up to twice as slow


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
    outputs = ceil_div(g.out_channels, BLOCK) * BLOCK if g.groups == 1 else g.out_channels
    total = 2 * prod(g.kernel) * g.in_channels * g.groups * outputs * itemsize
    if any(side < 0 for pair in g.padding for side in pair):
        total += g.batch * prod(g.spatial) * g.groups * g.in_channels * itemsize
    return total + bytes_of_pairs(g)


def of_rows(geometry: Geometry) -> Geometry:
    """The convolution of one image whose last spatial axis are the images of this one, in canonical order."""
    g = geometry
    wider = with_axis(in_wide_results(g), g.ndim, g.batch)
    return replace(wider, batch=1, dimension_numbers=channels_last(wider.ndim))


def compute_rows(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, 1, C], rhs [*K, C, 1, O] -> [N, *S', 1, O]."""
    g = geometry
    image = jnp.moveaxis(lhs.squeeze(-2), 0, -2)[None]
    out = _onednn.convolve(image, jnp.expand_dims(rhs.squeeze(-2), -3), of_rows(g))
    return jnp.moveaxis(out.squeeze(0), -2, 0)[..., None, :]


def of_planes(geometry: Geometry) -> Geometry:
    """The same of the planes along the first axis that one tap meets, which are images."""
    return replace(of_rows(without_axis(geometry)), batch=geometry.out_spatial[0])


def compute_planes(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, 1, C], rhs [1, *K, C, 1, O] -> [N, *S', 1, O]."""
    g = geometry
    padded = lax.pad(lhs, jnp.zeros((), lhs.dtype), [(0, 0, 0), (*g.padding[0], 0), *[(0, 0, 0)] * (lhs.ndim - 2)])
    planes = padded[:, :: g.strides[0]][:, : g.out_spatial[0]]
    images = jnp.moveaxis(planes.squeeze(-2), 0, -2)
    out = _onednn.convolve(images, jnp.expand_dims(rhs[0].squeeze(-2), -3), of_planes(g))
    return jnp.moveaxis(out, -2, 0)[..., None, :]


def of_a_channel(geometry: Geometry) -> Geometry:
    """The depthwise convolution of one input channel of each group, in canonical order."""
    g = in_wide_results(geometry)
    return replace(g, in_channels=1, dimension_numbers=channels_last(g.ndim))


def compute_channel(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, 1], rhs [*K, 1, G, 1] -> [N, *S', G, 1]."""
    return _onednn.convolve(lhs.squeeze(-1), rhs.squeeze(-1), of_a_channel(geometry))[..., None]


def in_wide_results(geometry: Geometry) -> Geometry:
    """With results that are not rounded before they are added up."""
    return replace(geometry, preferred_element_type=geometry.accumulator.name, batch_grouped=False)


def workspace_of_parts(geometry: Geometry) -> int:
    """Bytes of lhs cut out, of rhs in order, of the results, and twice of what oneDNN makes of both operands.

    That is rhs in blocks and, if dense, lhs padded. Twice, for on a busy machine a call may begin before the last one
    has given its own back.
    """
    g = geometry
    itemsize, wide = jnp.dtype(g.dtype).itemsize, g.accumulator.itemsize
    image = g.batch * prod(g.spatial) * g.groups * g.in_channels
    outputs = g.groups * g.out_channels  # one of the two is 1
    block = BLOCK if outputs > BLOCK else LEAST_BLOCK
    blocks = ceil_div(outputs, block) * block
    taps = prod(g.kernel) * g.in_channels
    total = ((4 if g.groups == 1 else 1) * image + taps * (outputs + 2 * blocks)) * itemsize
    total += bytes_of_pairs(g)
    return total + results(g) * wide * (1 if wide == jnp.dtype(g.out_dtype).itemsize else 2)


def refuses_planes(geometry: Geometry) -> str:
    """Why not a plane of a volume at a time, or ""."""
    if geometry.lhs_dilation[0] > 1:
        return f"lhs_dilation must be 1, and is {geometry.lhs_dilation}"
    return _onednn.refuses(of_planes(geometry))


def refuses_rows(geometry: Geometry) -> str:
    """Why not with images for an axis, or ""."""
    return _onednn.refuses(of_rows(geometry))


def refuses_groups(geometry: Geometry) -> str:
    """Why not a channel at a time, or ""."""
    if geometry.out_channels > 1:
        return f"with few positions its groups have one output channel, and here {geometry.out_channels}"
    return _onednn.refuses(of_a_channel(geometry))


def cached(geometry: Geometry) -> bool:
    """Whether its rhs stays in the cache."""
    return prod(geometry.rhs_layout.shape) * jnp.dtype(geometry.dtype).itemsize <= CACHED_BYTES


BY_ROWS = Cut(("rows", "channels"), MAX_CHANNELS, cached=cached, apart=True)
DENSE = either(
    lambda geometry: geometry.ndim == _onednn.MAX_RANK,
    yes=added_up(compute_planes, workspace_of_parts, refuses_planes, BY_ROWS._replace(max_rows=1)),
    no=added_up(compute_rows, workspace_of_parts, refuses_rows, BY_ROWS),
)
DEPTHWISE = added_up(compute_channel, workspace_of_parts, refuses_groups, Cut(("channels", "rows"), max_channels=1))
ALGORITHM = either(
    lambda geometry: geometry.few_positions,
    yes=either(lambda geometry: geometry.groups == 1, yes=DENSE, no=DEPTHWISE),
    no=chunked(Kernel(compute, workspace, prepare, fuses=False), _onednn.refuses),
)._replace(is_portable=False)
