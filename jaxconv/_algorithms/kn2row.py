"""One product of matrices for each tap, added up (Vasudevan, Anderson, Gregg 2017, arXiv 1704.04428).

    out[(n, s), o] = sum over k of  lhs[(n, stride * s + rhs_dilation * k), c] @ rhs[k, c, o]        for each group

It needs one slice of lhs where im2col needs prod(K) of them; for one tap, a 1x1 convolution, there is nothing but the
product. The dual, one product for each output position, is the weight gradient

    out[s, n, o] = sum over (k, c) of  lhs[n, stride * s + rhs_dilation * k, c]^T @ rhs[(k, c), o]

and the one to take where positions are fewer than taps.
"""

from functools import reduce
from itertools import product
from math import prod
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from .._algorithm import either
from .._chunk import Kernel
from .._chunks import chunked
from .._cut import Cut
from .._geometry import Geometry, dilated
from .._summands import added_up

LETTERS = "xyzuvw"  # of spatial axes, in sums of products
MAX_PRODUCTS = 32  # written out one after the other
SMALL = 128 * 256  # results of a product; with fewer, more of them are summed apart, so that all threads have some


def padded(lhs: jax.Array, g: Geometry) -> tuple[jax.Array, tuple[int, ...]]:
    """lhs [N, *S, G, C] padded and dilated, and where position 0 is in it. Only cropped, it stays as it is."""
    if not is_padded(g):
        return lhs, tuple(-low for low, _ in g.padding)
    config = [(low, high, grow - 1) for (low, high), grow in zip(g.padding, g.lhs_dilation, strict=True)]
    return lax.pad(lhs, jnp.zeros((), lhs.dtype), [(0, 0, 0), *config, (0, 0, 0), (0, 0, 0)]), (0,) * g.ndim


def is_padded(g: Geometry) -> bool:
    """Whether there are zeros to put anywhere."""
    return any(side > 0 for pair in g.padding for side in pair) or bool(set(g.lhs_dilation) - {1})


def pixels(lhs: jax.Array, starts: tuple[int, ...], counts: tuple[int, ...], steps: tuple[int, ...]) -> jax.Array:
    """Elements `start + step * i` of each spatial axis."""
    begin = (0, *starts, 0, 0)
    end = [start + (count - 1) * step + 1 for start, count, step in zip(starts, counts, steps, strict=True)]
    return lax.slice(lhs, begin, (lhs.shape[0], *end, *lhs.shape[-2:]), (1, *steps, 1, 1))


def workspace(geometry: Geometry) -> int:
    """Bytes of the padded input, the slice of it, and the products."""
    g = geometry
    itemsize, wide = jnp.dtype(g.dtype).itemsize, g.accumulator.itemsize
    channels = g.batch * g.groups * g.in_channels
    extent = prod(
        dilated(size, grow) + low + high
        for size, grow, (low, high) in zip(g.spatial, g.lhs_dilation, g.padding, strict=True)
    )
    total = channels * extent * itemsize if is_padded(g) else 0
    if prod(g.kernel) > 1 or set(g.strides) - {1} or g.groups > 1:
        # The compiler cuts all slices before the first product.
        total += max(2, prod(g.kernel)) * channels * prod(g.out_spatial) * itemsize
    if prod(g.kernel) > 1:
        # Each tap's matrix is cut from rhs, and put in the order that its product wants.
        total += 3 * prod(g.kernel) * g.in_channels * g.groups * g.out_channels * itemsize
    is_copied = g.groups > 1 or wide != jnp.dtype(g.out_dtype).itemsize  # products come group by group
    products = prod(g.kernel) + 1 if prod(g.kernel) > 1 else is_copied
    total += products * g.batch * prod(g.out_spatial) * g.groups * g.out_channels * wide
    if wide > itemsize:  # what the compiler widens before it multiplies
        total += (channels * prod(g.out_spatial) + prod(g.kernel) * g.in_channels * g.groups * g.out_channels) * wide
    return total


def compute(lhs: jax.Array, prepared: tuple[jax.Array, str], geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, C] and rhs with its channels' letters -> [N, *S', G, O]."""
    g = geometry
    rhs, letters = prepared
    source, origin = padded(lhs, g)
    products = []
    for tap in product(*map(range, g.kernel)):
        starts = tuple(zero + k * spread for zero, k, spread in zip(origin, tap, g.rhs_dilation, strict=True))
        left = pixels(source, starts, g.out_spatial, g.strides).reshape(-1, g.groups, g.in_channels)
        right, spec = rhs[tap], f"tgc,{letters}->tgo"
        if g.groups == 1:  # a plain product of matrices, not one of batches of one
            left, right, spec = left[:, 0], right.squeeze(letters.index("g")), spec.replace("g", "")
        elif not g.ndim:  # nothing comes between the product and the caller's order, of which XLA:CPU (0.10.2) makes
            left, right = left.astype(g.accumulator), right.astype(g.accumulator)  # one of bfloat16 that it cannot run
        products.append(jnp.einsum(spec, left, right, precision=g.precision, preferred_element_type=g.accumulator))
    return reduce(add, products).reshape(g.batch, *g.out_spatial, g.groups, g.out_channels)


def by_position(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """The dual: lhs [N, *S, G, C], rhs [*K, C, G, O] -> [N, *S', G, O]."""
    g = geometry
    source, origin = padded(lhs, g)
    source = jnp.moveaxis(jnp.moveaxis(source, 0, -1), -2, 0)  # [C, *S, G, N]
    space = LETTERS[: g.ndim]
    # Sums over very many terms for few results are split by c (the images of a weight gradient).
    apart = "c" if g.batch * g.out_channels < SMALL else ""
    # c comes first in both: with c elsewhere in one of them, XLA:CPU (0.10.2) compiles products of bfloat16 apart for
    # each c to what it then cannot run, on processors without AMX.
    spec, factor = f"c{space}gn,c{space}go->{apart}gno", jnp.moveaxis(rhs, g.ndim, 0)
    if g.groups == 1:
        factor, spec = factor.squeeze(-2), spec.replace("g", "")
    rows = []
    for position in product(*map(range, g.out_spatial)):
        starts = tuple(zero + s * stride for zero, s, stride in zip(origin, position, g.strides, strict=True))
        left = pixels(source, starts, g.kernel, g.rhs_dilation)
        left = left.squeeze(-2) if g.groups == 1 else left
        row = jnp.einsum(spec, left, factor, precision=g.precision, preferred_element_type=g.accumulator)
        rows.append(row.sum(0, dtype=g.accumulator) if apart else row)
    out = jnp.stack(rows).reshape(*g.out_spatial, g.groups, g.batch, g.out_channels)
    return jnp.moveaxis(out, -2, 0)


def by_position_workspace(geometry: Geometry) -> int:
    """Bytes of the padded input, its slices and the products."""
    g = geometry
    itemsize, wide = jnp.dtype(g.dtype).itemsize, g.accumulator.itemsize
    images, positions = g.batch * g.groups * g.in_channels, prod(g.out_spatial)
    extent = prod(
        dilated(size, grow) + low + high
        for size, grow, (low, high) in zip(g.spatial, g.lhs_dilation, g.padding, strict=True)
    )
    sliced = positions > 1 or g.kernel != g.spatial or set(g.rhs_dilation) - {1}
    # Both factors are transposed for the product; the compiler may make all slices ahead of all products.
    total = images * extent * is_padded(g) * itemsize
    # It may widen them first.
    total += images * prod(g.kernel) * (positions * bool(sliced) * max(itemsize, wide) + itemsize)
    results = g.groups * g.batch * g.out_channels
    total += (positions + 1) * results * wide * (g.in_channels if results < SMALL * g.groups else 1)
    total += 2 * positions * results * wide
    of_rhs = g.in_channels * g.groups * g.out_channels * prod(g.kernel)
    as_multiplied = (g.ndim + 1, g.ndim, *range(g.ndim), g.ndim + 2)  # [g, c, *k, o]
    total += of_rhs * itemsize * (not g.rhs_layout.is_stored_as(as_multiplied))
    if wide > itemsize:
        total += images * prod(g.kernel) * wide + of_rhs * wide
    return total


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    if geometry.few_positions and geometry.ndim > len(LETTERS):
        return f"it has letters for {len(LETTERS)} spatial axes, and there are {geometry.ndim}"
    products = min(prod(geometry.kernel), prod(geometry.out_spatial))
    return f"it would write out {products} products of matrices, more than {MAX_PRODUCTS}" * (products > MAX_PRODUCTS)


ALGORITHM = either(
    lambda geometry: geometry.few_positions,
    yes=added_up(by_position, by_position_workspace, refuses, Cut(copies=2, copies_of_rhs=1)),
    no=chunked(Kernel(compute, workspace, lambda rhs, letters, geometry: (rhs, letters)), refuses),
)
