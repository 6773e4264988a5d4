"""3-D U-Net."""

import jax
import jax.numpy as jnp
from flax import nnx

from ..architectures import Model, unet3d
from .layers import ConvNorm, enlarging


class Pair(nnx.Module):
    """Two convolutions of 3x3x3."""

    def __init__(self, inputs: int, inner: int, outputs: int, rngs: nnx.Rngs):
        self.first = ConvNorm(inputs, inner, 3, rngs, rank=3)
        self.second = ConvNorm(inner, outputs, 3, rngs, rank=3)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.second(nnx.relu(self.first(x))))


class UNet3d(nnx.Module):
    """[N, depth, height, width, channels] -> [N, depth, height, width, classes]."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        levels, channels = unet3d(model), model.image[-1]
        self.down, self.enlarge, self.up = nnx.List([]), nnx.List([]), nnx.List([])
        for level in levels:
            self.down.append(Pair(channels, max(1, level // 2), level, rngs))
            channels = level
        for level in levels[-2::-1]:
            self.enlarge.append(enlarging(channels, channels, 2, 2, 0, rngs, bias=True, rank=3))
            self.up.append(Pair(channels + level, level, level, rngs))
            channels = level
        self.classify = nnx.Conv(channels, model.classes, (1, 1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kept = []
        for pair in self.down:
            x = pair(nnx.max_pool(x, (2, 2, 2), (2, 2, 2)) if kept else x)
            kept.append(x)
        kept.pop()
        for enlarge, pair in zip(self.enlarge, self.up, strict=True):
            x = pair(jnp.concatenate([kept.pop(), enlarge(x)], axis=-1))
        return self.classify(x)
