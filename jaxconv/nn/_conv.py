"""The convolution layer."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jax.typing import DTypeLike

from .._functions.axes import Axes, Padding
from .._functions.forms import conv1d, conv2d, conv3d
from ._arguments import check_channels, read_settings
from ._kernels import Initializer, draw, group_inputs, lecun_normal, to_layout, zeros
from ._layer import STATIC, Layer, reading

CONVOLUTIONS = {1: conv1d, 2: conv2d, 3: conv3d}


@register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class Conv(Layer):
    """A convolution in 1 to 3 dimensions: kernel, bias and settings.

    Make one with `init` or `from_torch`; the fields are in the form that these bring them to.

    Attributes:
      kernel: (*taps, in_channels / groups, out_channels) or, where the layout is channels first,
        (out_channels, in_channels / groups, *taps).
      bias: (out_channels,) or None.
      stride, dilation: an integer for each axis.
      padding: "SAME", "SAME_LOWER", "VALID", "CAUSAL" or a pair (low, high) for each axis.
      groups: groups of channels that do not mix.
      padding_mode: what stands in the padding.
      layout: of input and result.
      algorithm: one of `jaxconv.ALGORITHMS`, or None: chosen, see `jaxconv.conv_general_dilated`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.nn import Conv
    >>> layer = Conv.init(jax.random.key(0), 3, 16, (3, 3), stride=2)
    >>> layer
    Conv(kernel=float32[3,3,3,16], bias=float32[16], stride=(2, 2), padding='SAME', dilation=(1, 1), groups=1, ...)
    >>> layer(jnp.ones((8, 32, 32, 3))).shape
    (8, 16, 16, 16)
    >>> jax.grad(lambda layer, x: (layer(x) ** 2).mean())(layer, jnp.ones((8, 32, 32, 3))).kernel.shape
    (3, 3, 3, 16)
    """

    kernel: jax.Array
    bias: jax.Array | None
    stride: tuple[int, ...] = field(metadata=STATIC)
    padding: str | tuple[tuple[int, int], ...] = field(metadata=STATIC)
    dilation: tuple[int, ...] = field(metadata=STATIC)
    groups: int = field(metadata=STATIC)
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
        stride: Axes = 1,
        padding: Padding = "SAME",
        dilation: Axes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        layout: str | None = None,
        algorithm: str | None = None,
        kernel_init: Initializer = lecun_normal,
        bias_init: Initializer = zeros,
        dtype: DTypeLike = jnp.float32,
    ) -> "Conv":
        """A layer with random weights.

        Args:
          key: a PRNG key, the only source of randomness.
          in_channels, out_channels: multiples of `groups`.
          kernel_size: taps along each axis; a single integer needs a layout.
          stride, dilation: one integer, or one for each axis.
          padding: "SAME", "SAME_LOWER", "VALID", "CAUSAL", one integer for all sides, or for each axis an integer or a
            pair (low, high).
          groups: groups of channels that do not mix.
          bias: whether there is one.
          padding_mode: "zeros", "circular", "reflect" or "replicate", see `jaxconv.conv_with_padding_mode`.
          layout: "NWC", "NHWC", "NDHWC", "NCW", "NCHW" or "NCDHW", of input and result; channels last by default.
          algorithm: as in `jaxconv.conv_general_dilated`.
          kernel_init: (key, shape, dtype) -> array, such as those of `jax.nn.initializers`. Each group is a convolution
            of its own and is initialised as one: shape is (*taps, in_channels / groups, out_channels / groups).
          bias_init: the same, for the shape (out_channels,).
          dtype: of the weights, and what inputs must have.

        Raises:
          ValueError, TypeError: for arguments that are none of these or do not go together.
        """
        taps, settings = read_settings(
            "Conv", kernel_size, stride, padding, dilation, layout, padding_mode=padding_mode, algorithm=algorithm
        )
        check_channels("Conv", groups, in_channels=in_channels, out_channels=out_channels)
        kernel_key, bias_key = jax.random.split(key)
        kernel = draw(kernel_init, kernel_key, taps, in_channels, out_channels, groups, dtype)
        drawn_bias = bias_init(bias_key, (out_channels,), dtype) if bias else None
        return cls(to_layout(kernel, settings["layout"]), drawn_bias, groups=groups, **settings)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution of x, with or without a batch axis, in `layout`."""
        with reading(self, x, group_inputs(self.kernel, self.layout) * self.groups):
            return CONVOLUTIONS[len(self.stride)](
                x,
                self.kernel,
                self.stride,
                self.padding,
                rhs_dilation=self.dilation,
                feature_group_count=self.groups,
                layout=self.layout,
                bias=self.bias,
                padding_mode=self.padding_mode,
                algorithm=self.algorithm,
            )
