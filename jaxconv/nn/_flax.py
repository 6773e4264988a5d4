"""Parameters of flax's layers and back. flax itself is not imported.

flax keeps kernels channels last, (*taps, in / groups, out), and so does what this package calls a kernel apart from a
layer; those of a local convolution, (*positions, in * taps, out), have the same axes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from .._functions.transposed import transposed_kernel
from ._conv import Conv
from ._conv_local import ConvLocal
from ._conv_transpose import ConvTranspose
from ._depthwise_conv import DepthwiseConv
from ._kernels import channels_are_first, from_layout, to_layout
from ._weights import check_kind, read_weights

KINDS = Conv, DepthwiseConv, ConvTranspose, ConvLocal
L = TypeVar("L", Conv, ConvLocal, ConvTranspose, DepthwiseConv)


def load_flax(layer: L, params: Mapping[str, Any], *, transpose_kernel: bool = False) -> L:
    """`layer`, its settings, with the parameters of a flax layer.

    Args:
      layer: a `Conv`, `DepthwiseConv`, `ConvTranspose` or `ConvLocal`; its arrays count by their shapes only.
      params: "kernel" and, for a layer with a bias, "bias", as in `variables["params"]` of `flax.linen.Conv` (also for
        depthwise ones), `ConvTranspose` or `ConvLocal`. The layer takes their type.
      transpose_kernel: as the `flax.linen.ConvTranspose` had it.

    Other paddings of flax are these here, with extent = (taps - 1) * dilation + 1. "CIRCULAR" and "REFLECT" of `Conv`
    and `ConvLocal`: that `padding_mode` with the padding ((extent - 1) // 2, extent // 2) along each axis, which is
    "SAME" for stride 1. (low, high) of `ConvTranspose`: (extent - 1 - low, extent - 1 - high).

    Raises:
      TypeError: for anything but such a layer.
      ValueError: if names or shapes are not those of the layer.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.nn import Conv, load_flax
    >>> layer = Conv.init(jax.random.key(0), 3, 8, (5, 5), layout="NCHW")
    >>> load_flax(layer, {"kernel": jnp.ones((5, 5, 3, 8)), "bias": jnp.zeros(8)}).kernel.shape
    (8, 3, 5, 5)
    """
    check_kind("load_flax", layer, *KINDS)
    given = read_weights("load_flax", layer, params, lambda layer: to_flax(layer, transpose_kernel=transpose_kernel))
    kernel, bias = given["kernel"], given.get("bias")
    if transpose_kernel:
        kernel = _transposed(kernel)
    if bias is not None and channels_are_first(layer.layout):
        bias = np.moveaxis(bias, -1, 0)  # (*positions, out) where it is of a local convolution
    kernel = jnp.array(to_layout(kernel, layer.layout))
    return replace(layer, kernel=kernel, bias=None if bias is None else jnp.array(bias))


def to_flax(
    layer: Conv | ConvLocal | ConvTranspose | DepthwiseConv, *, transpose_kernel: bool = False
) -> dict[str, NDArray]:
    """The parameters of a layer as those of the same flax layer, NumPy arrays: "kernel" and, if any, "bias".

    The arguments are those of `load_flax`.

    >>> import jax
    >>> from jaxconv.nn import Conv, to_flax
    >>> layer = Conv.init(jax.random.key(0), 4, 6, (3,), layout="NCW")
    >>> {name: array.shape for name, array in to_flax(layer).items()}
    {'kernel': (3, 4, 6), 'bias': (6,)}
    """
    check_kind("to_flax", layer, *KINDS)
    if transpose_kernel and not isinstance(layer, ConvTranspose):
        raise ValueError(f"transpose_kernel is for ConvTranspose, got {layer!r}")
    kernel = from_layout(np.asarray(layer.kernel), layer.layout)
    if transpose_kernel:
        kernel = _transposed(kernel)
    state = {"kernel": kernel}
    if layer.bias is not None:
        bias = np.asarray(layer.bias)
        state["bias"] = np.moveaxis(bias, 0, -1) if channels_are_first(layer.layout) else bias
    return {name: np.array(array) for name, array in state.items()}


def _transposed(kernel: NDArray) -> NDArray:
    """Its own inverse."""
    rank = kernel.ndim
    return np.asarray(transposed_kernel(kernel, (rank - 1, rank - 2, *range(rank - 2)), groups=1))
