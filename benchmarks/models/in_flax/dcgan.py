"""DCGAN."""

import jax
import jax.numpy as jnp
from flax import nnx

from ..architectures import NOISE, Model, dcgan, halved
from .layers import ConvNorm, enlarging


class Doubling(nnx.Module):
    """[N, *size, inputs] -> [N, *larger, outputs]: a transposed convolution without bias and batch normalization."""

    def __init__(self, inputs: int, outputs: int, taps: int, stride: int, padding: int, rngs: nnx.Rngs):
        self.conv = enlarging(inputs, outputs, taps, stride, padding, rngs, bias=False)
        self.norm = nnx.BatchNorm(outputs, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.norm(self.conv(x)))


class Generator(nnx.Module):
    """Noise [N, NOISE] -> images [N, height, width, channels]."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        widths = dcgan(model)[::-1]
        self.first = Doubling(NOISE, widths[0], halved(model, len(widths)), 1, 0, rngs)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.blocks = nnx.List([Doubling(inputs, outputs, 4, 2, 1, rngs) for inputs, outputs in pairs])
        self.last = enlarging(widths[-1], model.image[-1], 4, 2, 1, rngs, bias=False)

    def __call__(self, noise: jax.Array) -> jax.Array:
        x = self.first(noise[:, None, None])
        for block in self.blocks:
            x = block(x)
        return jnp.tanh(self.last(x))


class Discriminator(nnx.Module):
    """[N, height, width, channels] -> [N], how much more likely real than not."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        widths = dcgan(model)
        self.first = nnx.Conv(model.image[-1], widths[0], (4, 4), strides=2, padding=1, use_bias=False, rngs=rngs)
        self.blocks = nnx.List(
            [
                ConvNorm(inputs, outputs, 4, rngs, stride=2, padding=1)
                for inputs, outputs in zip(widths[:-1], widths[1:], strict=True)
            ]
        )
        left = (halved(model, len(widths)),) * 2
        self.judge = nnx.Conv(widths[-1], 1, left, padding=0, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.leaky_relu(self.first(x), 0.2)
        for block in self.blocks:
            x = nnx.leaky_relu(block(x), 0.2)
        return self.judge(x).reshape(-1)
