"""Two-dimensional convolution step by step: loops, patches, one matrix product, a layer.

The conventions here are images (N, C_in, H, W), kernels (kh, kw, C_in, C_out), no padding and no flip, which makes the
algebra easy to follow; `conv_general_dilated` takes any.
"""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp

from ._algorithms import im2col
from ._conv import conv_general_dilated
from ._functions.axes import Padding, pairs, per_axis
from ._parameters import geometry_of

LAYOUT = ("NCHW", "HWIO", "NCHW")

Pair = int | tuple[int, int]


@partial(jax.jit, static_argnames="stride")
def naive_conv2d(x: jax.Array, w: jax.Array, stride: Pair = 1) -> jax.Array:
    """Convolution as loops over output positions and taps (`lax.fori_loop`).

    Args:
      x: images (N, C_in, H, W).
      w: kernel (kh, kw, C_in, C_out), same dtype.
      stride: positive integer or pair, for H and W.

    Returns:
      (N, C_out, (H - kh) // stride + 1, (W - kw) // stride + 1), dtype of x.

    Raises:
      TypeError, ValueError: as `lax.conv_general_dilated`, for shapes or types that do not fit.

    >>> import jax.numpy as jnp, jaxconv
    >>> jaxconv.naive_conv2d(jnp.ones((1, 2, 4, 5)), jnp.ones((3, 2, 2, 1)), stride=1)[0, 0].tolist()
    [[12.0, 12.0, 12.0, 12.0], [12.0, 12.0, 12.0, 12.0]]
    """
    return conv_general_dilated(
        x, w, per_axis("naive_conv2d", "stride", stride, 2), "VALID", dimension_numbers=LAYOUT, algorithm="naive"
    )


@partial(jax.jit, static_argnames="stride")
def get_patches(x: jax.Array, w: jax.Array, stride: Pair = 1) -> jax.Array:
    """The im2col matrix: a row for each output position, holding the inputs it sees in the kernel's own order.

    Args:
      x: images (N, C_in, H, W).
      w: kernel (kh, kw, C_in, C_out); only its shape matters.
      stride: positive integer or pair, for H and W.

    Returns:
      (N * H_out * W_out, kh * kw * C_in). Rows run over (n, i, j), columns over (row tap, column tap, channel), so that
      `get_patches(x, w) @ w.reshape(-1, C_out)` is the convolution.

    >>> import jax.numpy as jnp, jaxconv
    >>> x = jnp.arange(6).reshape(1, 1, 2, 3)
    >>> jaxconv.get_patches(x, jnp.zeros((2, 2, 1, 1), int)).tolist()
    [[0, 1, 3, 4], [1, 2, 4, 5]]
    """
    g = geometry_of(x, w, per_axis("get_patches", "stride", stride, 2), "VALID", dimension_numbers=LAYOUT)
    channels_first = x.transpose(1, 0, 2, 3)[None]
    patches = im2col.patches(channels_first, g.kernel, g.out_spatial, g.rhs_dilation, g.strides)
    # (1, kh, kw, C_in, N, H_out, W_out)
    return patches.reshape(w.shape[0] * w.shape[1] * w.shape[2], -1).T


@partial(jax.jit, static_argnames="stride")
def matmul_conv2d(x: jax.Array, w: jax.Array, stride: Pair = 1) -> jax.Array:
    """Convolution as one product of the whole patch matrix with the kernel as a matrix.

    Shapes, dtypes and errors as `naive_conv2d`. The patch matrix is kh * kw times the input; the algorithm "im2col" of
    `conv_general_dilated` does the same in bounded memory.

    >>> import jax, jaxconv
    >>> x = jax.random.normal(jax.random.key(0), (2, 3, 6, 5))
    >>> w = jax.random.normal(jax.random.key(1), (3, 2, 3, 4))
    >>> bool(abs(jaxconv.matmul_conv2d(x, w, 2) - jaxconv.naive_conv2d(x, w, 2)).max() < 1e-5)
    True
    """
    geometry = geometry_of(x, w, per_axis("matmul_conv2d", "stride", stride, 2), "VALID", dimension_numbers=LAYOUT)
    out = get_patches(x, w, stride) @ w.reshape(-1, w.shape[-1])
    return out.reshape(geometry.batch, *geometry.out_spatial, w.shape[-1]).transpose(0, 3, 1, 2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)  # arrays are neither compared nor hashed
class Conv2d:
    """A convolution layer without bias: a pytree whose one leaf is the kernel.

    `jax.grad` of a function of the layer and its input gives both gradients, shaped like what they are gradients of.

    >>> import jax, jaxconv
    >>> layer = jaxconv.Conv2d.init(jax.random.key(0), kernel_size=3, in_channels=2, out_channels=4, padding="SAME")
    >>> x = jax.random.normal(jax.random.key(1), (1, 2, 8, 6))
    >>> layer(x).shape
    (1, 4, 8, 6)
    >>> dlayer, dx = jax.grad(lambda layer, x: (layer(x) ** 2).sum(), argnums=(0, 1))(layer, x)
    >>> dlayer.w.shape, dx.shape
    ((3, 3, 2, 4), (1, 2, 8, 6))
    """

    w: jax.Array
    stride: tuple[int, ...] = field(metadata={"static": True}, default=(1, 1))
    padding: str | tuple[tuple[int, int], ...] = field(metadata={"static": True}, default="VALID")
    dilation: tuple[int, ...] = field(metadata={"static": True}, default=(1, 1))
    groups: int = field(metadata={"static": True}, default=1)
    algorithm: str | None = field(metadata={"static": True}, default=None)

    @classmethod
    def init(
        cls,
        key: jax.Array,
        kernel_size: Pair,
        in_channels: int,
        out_channels: int,
        stride: Pair = 1,
        padding: Padding = "VALID",
        dilation: Pair = 1,
        groups: int = 1,
        *,
        scale: float = 0.01,
        dtype: jax.typing.DTypeLike = jnp.float32,
        algorithm: str | None = None,
    ) -> "Conv2d":
        """A layer with normal random weights.

        Args:
          key: a PRNG key, the only source of randomness.
          kernel_size: taps along H and W.
          in_channels: C_in, a multiple of `groups`.
          out_channels: C_out, a multiple of `groups`.
          stride: along H and W.
          padding: "VALID", "SAME", "SAME_LOWER", one integer for all sides, one for each axis, or a (low, high)
            pair for each axis.
          dilation: spacing of the taps.
          groups: groups of channels that do not mix.
          scale: standard deviation of the weights.
          dtype: of the weights, and what inputs must have.
          algorithm: as in `conv_general_dilated`.

        Raises:
          ValueError: if `groups` does not divide both channel counts, or a size is not positive.
        """
        rows, columns = per_axis("Conv2d", "kernel_size", kernel_size, 2)
        sizes = {"in_channels": in_channels, "out_channels": out_channels}
        for name, size in {**sizes, "groups": groups}.items():
            if size < 1:
                raise ValueError(f"Conv2d {name} must be positive, got {size}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d groups must divide in_channels and out_channels, got {groups=}, {sizes}")
        w = scale * jax.random.normal(key, (rows, columns, in_channels // groups, out_channels), dtype)
        return cls(
            w,
            per_axis("Conv2d", "stride", stride, 2),
            padding if isinstance(padding, str) else pairs("Conv2d", padding, 2),
            per_axis("Conv2d", "dilation", dilation, 2),
            groups,
            algorithm,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, C_in, H, W) -> (N, C_out, H_out, W_out)."""
        return conv_general_dilated(
            x,
            self.w,
            self.stride,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=LAYOUT,
            feature_group_count=self.groups,
            algorithm=self.algorithm,
        )
