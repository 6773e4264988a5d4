"""The compiler's own convolution: lax's."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._algorithm import MAX_WORKSPACE_BYTES, Algorithm, once
from .._geometry import Geometry, dilated
from .._layout import channels_last
from .._parameters import to_params
from . import im2col


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: whatever XLA takes.

    The primitive binds lax's own instead where it can; this is for the algorithms that end in easier convolutions. One
    of these may be such as XLA cannot compile where the caller's convolution was not.
    """
    if unsupported(geometry):
        return im2col.convolve(lhs, rhs, geometry, max_workspace_bytes)
    if jnp.issubdtype(geometry.dtype, jnp.complexfloating):  # lax would round sums on the way to a wider result
        lhs, rhs = lhs.astype(geometry.out_dtype), rhs.astype(geometry.out_dtype)
    return in_canonical_order(cropping(lax.conv_general_dilated), to_params(geometry))(lhs, rhs)


def mended(
    convolve: Callable[..., jax.Array], params: dict[str, Any], geometry: Geometry, platform: str
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(lhs, rhs) -> out by lax's convolution, without what XLA for the platform does wrong or needlessly slowly.

    Args:
      convolve: lax's convolution, or its primitive's `bind`.
      params: its parameters.
      geometry: the same convolution's.
      platform: which the program is for, or "several".
    """
    if platform in ("cpu", "several"):
        convolve = cropping(convolve)
    if platform == "cpu":
        return in_canonical_order(convolve, params)
    # Weight gradients of strided layers are dilated so, and cuDNN's: XLA knows them by their form.
    if platform == "cuda" and not (geometry.is_symbolic or geometry.is_empty or geometry.few_positions):
        convolve = padded_ahead(convolve)
    return partial(convolve, **params)


def cropping(convolve: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """lax's convolution, or its primitive's `bind`, of an lhs without what negative padding takes off its front.

    XLA on the CPU (jaxlib 0.10.2; not seen with 0.12.0.1) does not count that when it decides whether windows lie
    within the input, and reads what is in memory beyond it (https://github.com/openxla/xla/issues/48713).
    """

    def convolve_cropped(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
        padding = list(params["padding"])
        axes = params["dimension_numbers"].lhs_spec[2:]
        for place, (axis, up) in enumerate(zip(axes, params["lhs_dilation"], strict=True)):
            low, high = padding[place]
            if not isinstance(low, int) or low >= 0:
                continue
            elements = -(low // up)
            if isinstance(lhs.shape[axis], int) and elements >= lhs.shape[axis]:  # only padding is left
                out = jax.eval_shape(partial(convolve, **{**params, "padding": tuple(padding)}), lhs, rhs)
                return jnp.zeros(out.shape, out.dtype)
            lhs = lax.slice_in_dim(lhs, elements, None, axis=axis)
            padding[place] = low + elements * up, high
        return convolve(lhs, rhs, **{**params, "padding": tuple(padding)})

    return convolve_cropped


def padded_ahead(convolve: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """lax's convolution, or its primitive's `bind`, of an lhs that has the padding that one side has more of than the
    other, or less than none, where the kernel is dilated.

    XLA for CUDA (jaxlib 0.11.2) has cuDNN dilate a kernel where padding is the same on both sides. Where it is not, as
    in causal layers, it writes the zeros out, and of 2 taps that are 512 apart 513 are multiplied. Padding ahead of the
    convolution would be taken for the convolution's own, but for the barrier.
    """

    def convolve_padded(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
        numbers, spreads, padding = params["dimension_numbers"], params["rhs_dilation"], params["padding"]
        taps = [rhs.shape[axis] for axis in numbers.rhs_spec[2:]]
        even = [(max(0, min(sides)),) * 2 for sides in padding]
        written_out = prod(map(dilated, taps, spreads))
        if max(params["lhs_dilation"], default=1) > 1 or written_out < 2 * prod(taps) or even == [*map(tuple, padding)]:
            return convolve(lhs, rhs, **params)
        config = [(0, 0, 0)] * lhs.ndim
        for axis, (low, high), (side, _) in zip(numbers.lhs_spec[2:], padding, even, strict=True):
            config[axis] = (low - side, high - side, 0)
        lhs = lax.optimization_barrier(lax.pad(lhs, jnp.zeros((), lhs.dtype), config))
        return convolve(lhs, rhs, **{**params, "padding": tuple(even)})

    return convolve_padded


def in_canonical_order(convolve: Callable[..., jax.Array], params: dict[str, Any]) -> Callable[..., jax.Array]:
    """(lhs, rhs) -> out in the caller's layouts, by lax's convolution of transposed operands.

    XLA on the CPU computes convolutions in that order, and transposes what is in another; but not in the bodies of
    loops, scans and conditionals, where it falls back to loops over single elements, tens of times slower. So what is
    in another order is transposed ahead of it. Groups, which it computes in other ways, are left alone.

    Args:
      convolve: lax's convolution, or its primitive's `bind`.
      params: its parameters.
    """
    numbers = params["dimension_numbers"]
    wanted = channels_last(len(numbers.lhs_spec) - 2)
    grouped = params["feature_group_count"] * params["batch_group_count"] > 1
    if numbers == wanted or grouped or params.get("out_sharding") is not None:
        return partial(convolve, **params)

    def order(spec, target):
        return [axis for _, axis in sorted(zip(target, spec, strict=True))]

    def transposed(lhs, rhs):
        lhs = lhs.transpose(order(numbers.lhs_spec, wanted.lhs_spec))
        rhs = rhs.transpose(order(numbers.rhs_spec, wanted.rhs_spec))
        out = convolve(lhs, rhs, **{**params, "dimension_numbers": wanted})
        return out.transpose(order(wanted.out_spec, numbers.out_spec))

    return transposed


def workspace(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Bytes, roughly: of operands and result in canonical order where they are stored in another, lhs dilated."""
    g = geometry
    extent = prod(dilated(size, grow) for size, grow in zip(g.spatial, g.lhs_dilation, strict=True))
    copied = not g.lhs_layout.is_canonical or extent > prod(g.spatial)
    total = copied * g.batch * extent * g.groups * g.in_channels * jnp.dtype(g.dtype).itemsize
    total += (not g.rhs_layout.is_canonical) * prod(g.rhs_layout.shape) * jnp.dtype(g.dtype).itemsize
    return total + (not g.out_layout.is_canonical) * prod(g.out_layout.shape) * jnp.dtype(g.out_dtype).itemsize


def unsupported(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> str:
    """A reason, or "".

    XLA exchanges the operands of a convolution whose kernel is the larger one. It takes an axis for one of groups in
    disguise, and leaves its window alone, where dilation, stride and padding are those of such an axis, whatever its
    size: the window is then not that of the new kernel, and the process is aborted.
    """
    if geometry.groups > 1 or geometry.is_symbolic:
        return ""
    mistaken, kernel, image = False, 1, 1
    for size, taps, up, spread, stride, padding in zip(
        geometry.spatial, geometry.kernel, geometry.lhs_dilation, geometry.rhs_dilation, geometry.strides,
        geometry.padding, strict=True,
    ):  # fmt: skip
        plain = padding == (0, 0) and spread == 1
        disguised = plain and up == taps and stride == taps - 1
        mistaken |= disguised and size != taps
        if not disguised and not (plain and size == taps and up == stride == 1):
            kernel, image = kernel * taps, image * size
    return "XLA's compiler would abort the process" if mistaken and kernel > image else ""


ALGORITHM = Algorithm(convolve, unsupported, workspace, once, ends_in_xla=True)
