"""Patches of an image, and their sum back into one: im2col and col2im as functions of their own."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from operator import index
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from .._algorithms import im2col
from .._geometry import Geometry
from .._parameters import geometry_of
from .arrays import as_array


def conv_general_dilated_patches(
    lhs: ArrayLike,
    filter_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """What each output position of a convolution sees, as channels: `lax.conv_general_dilated_patches`.

    lax convolves with a kernel of zeros and ones; this copies slices, which is exact in every type and, on a CPU,
    faster. Its transpose, the gradient, is `fold`. Where a spatial size is a symbol (`jax.export.symbolic_shape`), it
    is lax's function.

    Args:
      lhs: image, rank n + 2, of any type that `conv_general_dilated` takes.
      filter_shape: n positive integers, the window's taps, in the order of the spatial axes of a kernel.
      window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers: as in `conv_general_dilated`.
      precision: as in lax, where products are formed; copies are exact at any.
      preferred_element_type: type of the result, None for that of `lhs`.

    Returns:
      Rank n + 2, in the layout of a convolution's output, with C * prod(filter_shape) channels: for each channel of
      `lhs`, slowest, the taps in row-major order.

    Raises:
      TypeError, ValueError: whatever lax's convolution raises for the same arguments.

    >>> import jax.numpy as jnp, jaxconv
    >>> signal = jnp.arange(5).reshape(1, 1, 5)
    >>> jaxconv.conv_general_dilated_patches(signal, (3,), (1,), "VALID")[0].tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    """
    lhs = as_array("conv_general_dilated_patches lhs", lhs)
    geometry = geometry_of_patches(
        lhs, filter_shape, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
        precision=precision, preferred_element_type=preferred_element_type,
    )  # fmt: skip
    # Which slices to copy depends on these; a number of images that is a symbol does not matter.
    if not all(isinstance(size, int) for size in (*geometry.spatial, *sum(geometry.padding, ()))):
        return lax.conv_general_dilated_patches(
            lhs, filter_shape, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
            precision=lax.Precision.HIGHEST, preferred_element_type=preferred_element_type,
        )  # fmt: skip
    return _unfolded(lhs, geometry)


def fold(
    patches: ArrayLike,
    spatial_shape: Sequence[int],
    filter_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
) -> jax.Array:
    """The sum of patches back into an image (col2im, overlap-add): the transpose of `conv_general_dilated_patches`.

    Each element of a patch is added to the pixel that it would have been copied from; what would have come from
    padding is dropped. So `fold` of the patches of an image is the image times how often each pixel was copied.

    Args:
      patches: rank n + 2, in the layout of a convolution's output, with C * prod(filter_shape) channels in the order
        of `conv_general_dilated_patches`. Any type that `conv_general_dilated` takes.
      spatial_shape: the image's extent along its n spatial axes; torch calls it output_size. In the order of
        `window_strides`.
      filter_shape, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers: those with which the patches
        of such an image would be taken.

    Returns:
      The image, rank n + 2 with C channels, in the layout of a convolution's input and of the type of `patches`. Types
      narrower than float32 are added up in float32; integers wrap; a bool is true where any is.

    Raises:
      ValueError: if an image of this shape has other patches.
      TypeError, ValueError: whatever lax's convolution raises for the same arguments.

    >>> import jax.numpy as jnp, jaxconv
    >>> jaxconv.fold(jnp.ones((1, 3, 3)), (5,), (3,), (1,), "VALID")[0, 0].tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0]
    """
    patches = as_array("fold patches", patches)
    filter_shape, spatial_shape = tuple(map(index, filter_shape)), tuple(map(index, spatial_shape))
    numbers = lax.conv_dimension_numbers(patches.shape, (1, 1, *filter_shape), dimension_numbers)
    channels, rest = divmod(patches.shape[numbers.out_spec[1]], max(prod(filter_shape), 1))
    if rest or len(spatial_shape) != len(filter_shape):
        raise ValueError(
            "fold patches must have a multiple of prod(filter_shape) channels and one entry of spatial_shape for each "
            f"of {filter_shape=}, got {patches.shape=} in {numbers}, {spatial_shape=}"
        )
    sizes = dict(zip(numbers.lhs_spec, (patches.shape[numbers.out_spec[0]], channels, *spatial_shape), strict=True))
    image = jax.ShapeDtypeStruct([sizes[axis] for axis in range(len(sizes))], patches.dtype)
    geometry = geometry_of_patches(
        image, filter_shape, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers
    )
    if geometry.out_layout.shape != patches.shape:
        raise ValueError(
            f"fold patches must have shape {geometry.out_layout.shape} to come from an image of {spatial_shape=}, "
            f"got {patches.shape}"
        )
    return _folded(patches, geometry)


def geometry_of_patches(image: Any, filter_shape: Sequence[int], *args: Any, **kwargs: Any) -> Geometry:
    """Of the convolution that takes patches: each channel is a group, with an output channel for each tap.

    `args` and `kwargs` are those of `conv_general_dilated_patches` that follow; the fifth is `dimension_numbers`.
    """
    strides, padding, lhs_dilation, rhs_dilation, dimension_numbers = args
    filter_shape = tuple(map(index, filter_shape))
    numbers = lax.conv_dimension_numbers(image.shape, (1, 1, *filter_shape), dimension_numbers)
    channels = image.shape[numbers.lhs_spec[1]]
    known, taps = {numbers.rhs_spec[0]: channels * prod(filter_shape), numbers.rhs_spec[1]: 1}, iter(filter_shape)
    kernel = tuple(known[axis] if axis in known else next(taps) for axis in range(len(image.shape)))
    shapes = (jax.ShapeDtypeStruct(shape, image.dtype) for shape in (image.shape, kernel))
    return geometry_of(
        *shapes, strides, padding, lhs_dilation, rhs_dilation, numbers, feature_group_count=channels, **kwargs
    )


@partial(jax.jit, static_argnames="geometry")
def _unfolded(image: jax.Array, geometry: Geometry) -> jax.Array:
    """Image and patches in the caller's layouts."""
    g = geometry
    if g.is_empty:
        return jnp.zeros(g.out_layout.shape, g.out_dtype)
    if jnp.issubdtype(image.dtype, np.floating):
        image = image.astype(g.accumulator)  # so that the transpose adds up in that
    pixels = jnp.moveaxis(g.lhs_layout.whole(image)[..., 0], -1, 1)  # [N, C, *S]
    space = [(low, high, grow - 1) for (low, high), grow in zip(g.padding, g.lhs_dilation, strict=True)]
    pixels = lax.pad(pixels, jnp.zeros((), pixels.dtype), [(0, 0, 0), (0, 0, 0), *space])

    def of_channel(plane):
        patches = im2col.patches(plane[None, None, None], g.kernel, g.out_spatial, g.rhs_dilation, g.strides)
        patches = patches.reshape(*g.kernel, *g.out_spatial)
        # The taps are in the order of the spatial axes, and wanted in that of the kernel's.
        patches = patches.transpose(*np.argsort(g.dimension_numbers.rhs_spec[2:]), *range(g.ndim, 2 * g.ndim))
        return patches.reshape(prod(g.kernel), *g.out_spatial)

    patches = jax.vmap(jax.vmap(of_channel))(pixels)  # [N, C, K, *S']
    return g.out_layout.stored(jnp.moveaxis(patches, (1, 2), (-2, -1))).astype(g.out_dtype)


@partial(jax.jit, static_argnames="geometry")
def _folded(patches: jax.Array, geometry: Geometry) -> jax.Array:
    """The same the other way: there is no second implementation to disagree with the first. Bools have no transpose,
    the integers that they are added up in do."""
    if geometry.is_empty:  # and what JAX makes of a bool that nothing depends on has no value
        return jnp.zeros(geometry.lhs_layout.shape, geometry.dtype)
    wide = replace(geometry, dtype=geometry.accumulator.name)
    # The image is sharded, and varies over manual axes, as the patches are along the axes that both have.
    given, numbers = jax.typeof(patches), geometry.dimension_numbers
    spec: list[Any] = [None] * patches.ndim
    for here, there in zip(numbers.lhs_spec, numbers.out_spec, strict=True):
        spec[here] = given.sharding.spec[there] if there != numbers.out_spec[1] else None
    sharding = given.sharding.update(spec=spec)
    image = given.update(shape=geometry.lhs_layout.shape, dtype=wide.dtype, weak_type=False, sharding=sharding)
    (total,) = jax.linear_transpose(partial(_unfolded, geometry=wide), image)(patches.astype(wide.dtype))
    return total.astype(geometry.dtype)
