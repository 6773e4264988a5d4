"""The layer that convolves each channel by itself, then all channels at each position."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jax.typing import DTypeLike

from .._functions.axes import Axes, Padding
from .._functions.depthwise import separable_conv
from ._arguments import check_channels, read_settings
from ._kernels import Initializer, draw, lecun_normal, to_layout, zeros
from ._layer import STATIC, Layer, reading


@register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class SeparableConv(Layer):
    """A convolution of each channel by itself, then of all channels at each position (F. Chollet, Xception, CVPR 2017).

    Make one with `init`.

    Attributes:
      depthwise: (*taps, 1, in_channels * multiplier) or, where the layout is channels first,
        (in_channels * multiplier, 1, *taps).
      pointwise: (1, .., 1, in_channels * multiplier, out_channels), or
        (out_channels, in_channels * multiplier, 1, .., 1).
      bias: (out_channels,) or None, added at the end; there is none in between.
      in_channels: of the input.
      stride, padding, dilation, padding_mode: of the first convolution, as in `Conv`.
      layout, algorithm: of both; the algorithm has to be one that can do both.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.nn import SeparableConv
    >>> layer = SeparableConv.init(jax.random.key(0), 16, 24, (3, 3), stride=2)
    >>> layer(jnp.ones((8, 32, 32, 16))).shape
    (8, 16, 16, 24)
    """

    depthwise: jax.Array
    pointwise: jax.Array
    bias: jax.Array | None
    in_channels: int = field(metadata=STATIC)
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
        in_channels: int,
        out_channels: int,
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
    ) -> "SeparableConv":
        """A layer with random weights.

        Args:
          multiplier: results of the first convolution for each channel.
          kernel_init: as in `Conv.init`, for both kernels: the shapes (*taps, 1, multiplier) of one channel and
            (1, .., 1, in_channels * multiplier, out_channels).
          The rest as in `Conv.init`.

        Raises:
          ValueError, TypeError: as `Conv.init`.
        """
        taps, settings = read_settings(
            "SeparableConv",
            kernel_size,
            stride,
            padding,
            dilation,
            layout,
            padding_mode=padding_mode,
            algorithm=algorithm,
        )
        check_channels("SeparableConv", 1, in_channels=in_channels, out_channels=out_channels, multiplier=multiplier)
        between = in_channels * multiplier
        depthwise_key, pointwise_key, bias_key = jax.random.split(key, 3)
        depthwise = draw(kernel_init, depthwise_key, taps, in_channels, between, in_channels, dtype)
        pointwise = draw(kernel_init, pointwise_key, (1,) * len(taps), between, out_channels, 1, dtype)
        return cls(
            to_layout(depthwise, settings["layout"]),
            to_layout(pointwise, settings["layout"]),
            bias_init(bias_key, (out_channels,), dtype) if bias else None,
            in_channels=in_channels,
            **settings,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Both convolutions of x, with or without a batch axis, in `layout`."""
        with reading(self, x, self.in_channels):
            return separable_conv(
                x,
                self.depthwise,
                self.pointwise,
                self.stride,
                self.padding,
                rhs_dilation=self.dilation,
                layout=self.layout,
                bias=self.bias,
                padding_mode=self.padding_mode,
                algorithm=self.algorithm,
            )
