"""The layer that convolves each channel by itself."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jax.typing import DTypeLike

from .._functions.axes import Axes, Padding
from .._functions.depthwise import depthwise_conv
from ._arguments import check_channels, read_settings
from ._kernels import Initializer, draw, lecun_normal, to_layout, zeros
from ._layer import STATIC, Layer, reading


@register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class DepthwiseConv(Layer):
    """A convolution of each channel by itself: kernel, bias and settings. Make one with `init`.

    Attributes:
      kernel: (*taps, 1, channels * multiplier) or, where the layout is channels first,
        (channels * multiplier, 1, *taps).
      bias: (channels * multiplier,) or None.
      channels: of the input.
      stride, padding, dilation, padding_mode, layout, algorithm: as in `Conv`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.nn import DepthwiseConv
    >>> layer = DepthwiseConv.init(jax.random.key(0), 16, (3, 3), multiplier=2)
    >>> layer(jnp.ones((8, 32, 32, 16))).shape
    (8, 32, 32, 32)
    """

    kernel: jax.Array
    bias: jax.Array | None
    channels: int = field(metadata=STATIC)
    stride: tuple[int, ...] = field(metadata=STATIC)
    padding: str | tuple[tuple[int, int], ...] = field(metadata=STATIC)
    dilation: tuple[int, ...] = field(metadata=STATIC)
    padding_mode: str = field(metadata=STATIC)
    layout: str = field(metadata=STATIC)
    algorithm: str | None = field(metadata=STATIC)

    @classmethod
    def init(
        cls,
        key: jax.Array,
        channels: int,
        kernel_size: Axes,
        *,
        multiplier: int = 1,
        stride: Axes = 1,
        padding: Padding = "SAME",
        dilation: Axes = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        layout: str | None = None,
        algorithm: str | None = None,
        kernel_init: Initializer = lecun_normal,
        bias_init: Initializer = zeros,
        dtype: DTypeLike = jnp.float32,
    ) -> "DepthwiseConv":
        """A layer with random weights.

        Args:
          channels: of the input.
          multiplier: results for each channel; those of a channel are neighbours.
          kernel_init: as in `Conv.init`, for the shape (*taps, 1, multiplier) of one channel.
          The rest as in `Conv.init`.

        Raises:
          ValueError, TypeError: as `Conv.init`.
        """
        taps, settings = read_settings(
            "DepthwiseConv",
            kernel_size,
            stride,
            padding,
            dilation,
            layout,
            padding_mode=padding_mode,
            algorithm=algorithm,
        )
        check_channels("DepthwiseConv", 1, channels=channels, multiplier=multiplier)
        kernel_key, bias_key = jax.random.split(key)
        kernel = draw(kernel_init, kernel_key, taps, channels, channels * multiplier, channels, dtype)
        drawn_bias = bias_init(bias_key, (channels * multiplier,), dtype) if bias else None
        return cls(to_layout(kernel, settings["layout"]), drawn_bias, channels=channels, **settings)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of x, with or without a batch axis, in `layout`."""
        with reading(self, x, self.channels):
            return depthwise_conv(
                x,
                self.kernel,
                self.stride,
                self.padding,
                rhs_dilation=self.dilation,
                layout=self.layout,
                bias=self.bias,
                padding_mode=self.padding_mode,
                algorithm=self.algorithm,
            )
