"""The transposed convolution layer."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jax.typing import DTypeLike

from .._functions.axes import Axes, Padding
from .._functions.forms import batched_with_bias, dimension_numbers
from .._functions.transposed import conv_transpose, read_output_padding
from ._arguments import check_channels, check_choice, read_settings
from ._kernels import Initializer, draw, group_inputs, lecun_normal, to_layout, zeros
from ._layer import STATIC, Layer, reading


@register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class ConvTranspose(Layer):
    """A transposed convolution in 1 to 3 dimensions: kernel, bias and settings. Make one with `init` or `from_torch`.

    Attributes:
      kernel: that of the convolution of the spread-out input, as `jaxconv.conv_transpose` takes it by default:
        (*taps, in_channels / groups, out_channels) or, where the layout is channels first,
        (out_channels, in_channels / groups, *taps).
      bias: (out_channels,) or None.
      stride: how far inputs are spread out, for each axis.
      padding: "SAME" (stride times as many results as inputs), "VALID" (all results that an input reaches, and at least
        as many as that), or for each axis a pair (low, high): the padding of the convolution that is transposed, as in
        PyTorch.
      output_padding: further results at the end of each axis, with pairs as padding only.
      dilation, groups, layout, algorithm: as in `Conv`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.nn import ConvTranspose
    >>> layer = ConvTranspose.init(jax.random.key(0), 32, 3, (4, 4), stride=2)
    >>> layer(jnp.ones((8, 16, 16, 32))).shape
    (8, 32, 32, 3)
    """

    kernel: jax.Array
    bias: jax.Array | None
    stride: tuple[int, ...] = field(metadata=STATIC)
    padding: str | tuple[tuple[int, int], ...] = field(metadata=STATIC)
    output_padding: tuple[int, ...] = field(metadata=STATIC)
    dilation: tuple[int, ...] = field(metadata=STATIC)
    groups: int = field(metadata=STATIC)
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
        output_padding: Axes = 0,
        dilation: Axes = 1,
        groups: int = 1,
        bias: bool = True,
        layout: str | None = None,
        algorithm: str | None = None,
        kernel_init: Initializer = lecun_normal,
        bias_init: Initializer = zeros,
        dtype: DTypeLike = jnp.float32,
    ) -> "ConvTranspose":
        """A layer with random weights.

        Args:
          padding: "SAME", "VALID", one integer for all sides, or for each axis an integer or a pair (low, high).
          output_padding: an integer below the stride or the dilation, or one for each axis; not with "SAME" and
            "VALID", which say how many results there are.
          kernel_init: as in `Conv.init`; the fan in is taps * in_channels / groups, whatever the stride.
          The rest as in `Conv.init`.

        Raises:
          ValueError, TypeError: as `Conv.init`.
        """
        taps, settings = read_settings(
            "ConvTranspose", kernel_size, stride, padding, dilation, layout, algorithm=algorithm
        )
        if isinstance(settings["padding"], str):
            check_choice("ConvTranspose", "padding", settings["padding"], ("SAME", "VALID"))
        check_channels("ConvTranspose", groups, in_channels=in_channels, out_channels=out_channels)
        settings["output_padding"] = read_output_padding(
            "ConvTranspose", output_padding, settings["padding"], settings["stride"], settings["dilation"]
        )
        kernel_key, bias_key = jax.random.split(key)
        kernel = draw(kernel_init, kernel_key, taps, in_channels, out_channels, groups, dtype)
        drawn_bias = bias_init(bias_key, (out_channels,), dtype) if bias else None
        return cls(to_layout(kernel, settings["layout"]), drawn_bias, groups=groups, **settings)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The transposed convolution of x, with or without a batch axis, in `layout`."""

        def conv(x):
            return conv_transpose(
                x,
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                numbers,
                use_consistent_padding=True,
                output_padding=self.output_padding,
                feature_group_count=self.groups,
                algorithm=self.algorithm,
            )

        with reading(self, x, group_inputs(self.kernel, self.layout) * self.groups):
            numbers = dimension_numbers("ConvTranspose", len(self.stride), self.layout, x, self.kernel)
            return batched_with_bias("ConvTranspose", conv, x, self.layout, self.bias)
