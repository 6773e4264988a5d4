"""Weights from PyTorch's layers and back, as NumPy arrays in PyTorch's layout. PyTorch itself is not imported.

A convolution's weight is (out, in / groups, *taps) there and (*taps, in / groups, out) here. A transposed convolution's
is that of the convolution which it transposes, (in, out / groups, *taps); here it is that of the convolution which it
is, see `jaxconv.conv_transpose`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from .._functions.transposed import transposed_kernel
from ._conv import Conv
from ._conv_transpose import ConvTranspose
from ._depthwise_conv import DepthwiseConv
from ._kernels import from_layout, to_layout
from ._weights import check_kind, read_weights

KINDS = Conv, DepthwiseConv, ConvTranspose
L = TypeVar("L", Conv, ConvTranspose, DepthwiseConv)


def from_torch(module: Any, *, layout: str | None = None, algorithm: str | None = None) -> Conv | ConvTranspose:
    """The layer that computes what a PyTorch layer does, with its settings and a copy of its weights.

    Args:
      module: a `torch.nn.Conv1d`, `Conv2d`, `Conv3d`, `ConvTranspose1d`, `ConvTranspose2d` or `ConvTranspose3d`, or
        anything with the same attributes.
      layout: of input and result; by default channels first, as in PyTorch.
      algorithm: as in `jaxconv.conv_general_dilated`.

    Raises:
      TypeError: if `module` lacks an attribute of such a layer.
      ValueError: for settings that cannot be.

    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from jaxconv.nn import from_torch
    >>> module = SimpleNamespace(  # torch.nn.Conv1d(4, 6, 3, groups=2)
    ...     in_channels=4, out_channels=6, kernel_size=(3,), stride=(1,), padding=(0,), dilation=(1,), groups=2,
    ...     padding_mode="zeros", transposed=False, weight=np.ones((6, 2, 3), "float32"), bias=None)
    >>> from_torch(module)(np.ones((1, 4, 5), "float32")).shape
    (1, 6, 3)
    """
    try:
        sizes = module.in_channels, module.out_channels, tuple(module.kernel_size)
        settings = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
        weights = {"weight": module.weight, "bias": module.bias}
        kind, of_kind = (ConvTranspose, "output_padding") if module.transposed else (Conv, "padding_mode")
        settings[of_kind] = getattr(module, of_kind)
    except AttributeError as error:
        raise TypeError(f"from_torch takes a Conv or ConvTranspose of PyTorch, got {module!r}") from error
    settings |= {"bias": module.bias is not None, "algorithm": algorithm}
    settings["layout"] = layout or f"NC{'DHW'[3 - len(sizes[2]) :]}"
    layer = jax.eval_shape(lambda: kind.init(jax.random.key(0), *sizes, **settings))
    return load_torch(layer, weights)


def load_torch(layer: L, state_dict: Mapping[str, Any]) -> L:
    """`layer`, its settings, with the weights of a PyTorch layer.

    Args:
      layer: a `Conv`, `DepthwiseConv` or `ConvTranspose`; its arrays count by their shapes only.
      state_dict: "weight" and, for a layer with a bias, "bias": arrays or tensors as `module.state_dict()` has them.
        The layer takes their type.

    Raises:
      TypeError: for anything but such a layer.
      ValueError: if names or shapes are not those of the layer.

    >>> import jax, numpy as np
    >>> from jaxconv.nn import Conv, load_torch
    >>> layer = Conv.init(jax.random.key(0), 3, 8, (5, 5), bias=False)
    >>> load_torch(layer, {"weight": np.ones((8, 3, 5, 5), "float32")}).kernel.shape
    (5, 5, 3, 8)
    """
    check_kind("load_torch", layer, *KINDS)
    given = read_weights("load_torch", layer, state_dict, to_torch)
    weight, bias = given["weight"], given.get("bias")
    if isinstance(layer, ConvTranspose):
        weight = np.asarray(transposed_kernel(weight, range(weight.ndim), layer.groups))
    kernel = jnp.array(to_layout(np.moveaxis(weight, (1, 0), (-2, -1)), layer.layout))
    return replace(layer, kernel=kernel, bias=None if bias is None else jnp.array(bias))


def to_torch(layer: Conv | ConvTranspose | DepthwiseConv) -> dict[str, NDArray]:
    """The weights of a layer as PyTorch's `state_dict` of the same layer, NumPy arrays: "weight" and, if any, "bias".

    >>> import jax
    >>> from jaxconv.nn import ConvTranspose, to_torch
    >>> layer = ConvTranspose.init(jax.random.key(0), 4, 6, (3, 3), groups=2)
    >>> {name: array.shape for name, array in to_torch(layer).items()}
    {'weight': (4, 3, 3, 3), 'bias': (6,)}
    """
    check_kind("to_torch", layer, *KINDS)
    weight = np.moveaxis(from_layout(np.asarray(layer.kernel), layer.layout), (-2, -1), (1, 0))
    if isinstance(layer, ConvTranspose):
        weight = np.asarray(transposed_kernel(weight, range(weight.ndim), layer.groups))
    state = {"weight": weight} if layer.bias is None else {"weight": weight, "bias": layer.bias}
    return {name: np.array(array) for name, array in state.items()}
