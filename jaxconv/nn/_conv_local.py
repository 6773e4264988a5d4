"""The layer with other weights at each position."""

from dataclasses import dataclass, field
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jax.typing import DTypeLike

from .._functions.axes import Axes, Padding, per_axis
from .._functions.forms import batched_with_bias, dimension_numbers
from .._functions.local import conv_general_dilated_local
from .._functions.padding_modes import conv_with_padding_mode, extended
from .._layout import channels_last
from ._arguments import check_channels, read_settings
from ._kernels import Initializer, blocks, channels_are_first, group_inputs, lecun_normal, to_layout, zeros
from ._layer import STATIC, Layer, reading


@register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class ConvLocal(Layer):
    """A locally connected layer: a convolution with other weights at each position of the result. Make one with `init`.

    Attributes:
      kernel: (*positions, in_channels * taps, out_channels) or, where the layout is channels first,
        (out_channels, in_channels * taps, *positions); positions are those of the result, and taps run faster than
        input channels.
      bias: (*positions, out_channels), or (out_channels, *positions), or None.
      taps: the extent of the window along each axis.
      stride, padding, dilation, padding_mode, layout: as in `Conv`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.nn import ConvLocal
    >>> layer = ConvLocal.init(jax.random.key(0), 3, 4, (3, 3), (8, 6), padding="VALID")
    >>> layer.kernel.shape, layer(jnp.ones((2, 8, 6, 3))).shape
    ((6, 4, 27, 4), (2, 6, 4, 4))
    """

    kernel: jax.Array
    bias: jax.Array | None
    taps: tuple[int, ...] = field(metadata=STATIC)
    stride: tuple[int, ...] = field(metadata=STATIC)
    padding: str | tuple[tuple[int, int], ...] = field(metadata=STATIC)
    dilation: tuple[int, ...] = field(metadata=STATIC)
    padding_mode: str = field(metadata=STATIC)
    layout: str = field(metadata=STATIC)

    @classmethod
    def init(
        cls,
        key: jax.Array,
        in_channels: int,
        out_channels: int,
        kernel_size: Axes,
        input_size: Axes,
        *,
        stride: Axes = 1,
        padding: Padding = "SAME",
        dilation: Axes = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        layout: str | None = None,
        kernel_init: Initializer = lecun_normal,
        bias_init: Initializer = zeros,
        dtype: DTypeLike = jnp.float32,
    ) -> "ConvLocal":
        """A layer with random weights.

        Args:
          input_size: extent of the input along each axis; the layer takes no other.
          kernel_init: as in `Conv.init`, for the shape (*taps, in_channels, out_channels) at each position.
          bias_init: the same, for the shape (*positions, out_channels).
          The rest as in `Conv.init`. All algorithms would do the same here, so none is chosen.

        Raises:
          ValueError, TypeError: as `Conv.init`, and for a window that does not fit into the input.
        """
        taps, settings = read_settings(
            "ConvLocal", kernel_size, stride, padding, dilation, layout, padding_mode=padding_mode
        )
        check_channels("ConvLocal", 1, in_channels=in_channels, out_channels=out_channels)
        size = per_axis("ConvLocal", "input_size", input_size, len(taps))
        # What a convolution with shared weights would return says where the positions are.
        shapes = (1, *size, in_channels), (*taps, in_channels, 1)
        conv = partial(
            conv_with_padding_mode,
            window_strides=settings["stride"],
            padding=settings["padding"],
            padding_mode=padding_mode,
            rhs_dilation=settings["dilation"],
            dimension_numbers=channels_last(len(taps)),
        )
        positions = jax.eval_shape(conv, *(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)).shape[1:-1]
        if 0 in positions:
            raise ValueError(f"ConvLocal window {taps} with dilation {settings['dilation']} does not fit into {size}")
        kernel_key, bias_key = jax.random.split(key)
        kernel = blocks(kernel_init, kernel_key, prod(positions), (*taps, in_channels, out_channels), dtype)
        kernel = jnp.moveaxis(kernel, -2, 1).reshape(*positions, in_channels * prod(taps), out_channels)
        drawn_bias = bias_init(bias_key, (*positions, out_channels), dtype) if bias else None
        if drawn_bias is not None and channels_are_first(settings["layout"]):
            drawn_bias = jnp.moveaxis(drawn_bias, -1, 0)
        return cls(to_layout(kernel, settings["layout"]), drawn_bias, taps, **settings)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The local convolution of x, with or without a batch axis, in `layout`."""
        channels = group_inputs(self.kernel, self.layout) // prod(self.taps)

        def conv(x):
            lhs, padding = extended("ConvLocal", x, window, self.stride, self.padding, self.padding_mode, **arguments)
            return conv_general_dilated_local(lhs, self.kernel, self.stride, padding, self.taps, **arguments)

        with reading(self, x, channels):
            numbers = dimension_numbers("ConvLocal", len(self.taps), self.layout, x, self.kernel)
            if (given := jnp.result_type(x)) != self.kernel.dtype:  # lax would promote them
                raise TypeError(f"ConvLocal x must be of the weights' type, {self.kernel.dtype}, got {given}")
            shape = (1, channels, *self.taps) if channels_are_first(self.layout) else (*self.taps, channels, 1)
            window = jax.ShapeDtypeStruct(shape, self.kernel.dtype)
            arguments = {"rhs_dilation": self.dilation, "dimension_numbers": numbers}
            return batched_with_bias("ConvLocal", conv, x, self.layout, self.bias, bias_layout=self.layout[1:])
