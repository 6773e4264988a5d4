"""What several of the networks are made of."""

import jax
from flax import nnx


class ConvNorm(nnx.Module):
    """[N, *size, inputs] -> [N, *size / stride, outputs]: a convolution without bias and batch normalization."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        taps: int,
        rngs: nnx.Rngs,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        rank: int = 2,
    ):
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (taps,) * rank,
            strides=stride,
            padding=taps // 2 if padding is None else padding,
            feature_group_count=groups,
            use_bias=False,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(outputs, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


def enlarging(
    inputs: int, outputs: int, taps: int, stride: int, padding: int, rngs: nnx.Rngs, *, bias: bool, rank: int = 2
) -> nnx.ConvTranspose:
    """[N, *size, inputs] -> [N, *(size - 1) * stride + taps - 2 * padding, outputs]: padding counts as in PyTorch."""
    side = taps - 1 - padding
    sizes, strides, sides = (taps,) * rank, (stride,) * rank, ((side, side),) * rank
    return nnx.ConvTranspose(inputs, outputs, sizes, strides=strides, padding=sides, use_bias=bias, rngs=rngs)
