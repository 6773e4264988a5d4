"""ConvNeXt-T, its 1x1 layers as products of matrices, as in the authors' code."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from ..architectures import Model, convnext_t

LayerNorm = partial(nnx.LayerNorm, epsilon=1e-6)


class Block(nnx.Module):
    """7x7 in each channel by itself, a layer of four times the width, a scale for each channel."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.depthwise = nnx.Conv(channels, channels, (7, 7), padding=3, feature_group_count=channels, rngs=rngs)
        self.norm = LayerNorm(channels, rngs=rngs)
        self.expand = nnx.Linear(channels, 4 * channels, rngs=rngs)
        self.project = nnx.Linear(4 * channels, channels, rngs=rngs)
        self.gamma = nnx.Param(jnp.ones(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.expand(self.norm(self.depthwise(x)))
        return x + self.gamma * self.project(nnx.gelu(y, approximate=False))


class Stage(nnx.Module):
    """Half the size, then blocks."""

    def __init__(self, inputs: int, channels: int, blocks: int, rngs: nnx.Rngs):
        self.norm = LayerNorm(inputs, rngs=rngs)
        self.halve = nnx.Conv(inputs, channels, (2, 2), strides=2, padding=0, rngs=rngs)
        self.blocks = nnx.List([Block(channels, rngs) for _ in range(blocks)])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.halve(self.norm(x))
        for block in self.blocks:
            x = block(x)
        return x


class ConvNeXtT(nnx.Module):
    """[N, height, width, channels] -> [N, classes]."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        (channels, blocks), *rest = convnext_t(model)
        self.stem = nnx.Conv(model.image[-1], channels, (4, 4), strides=4, padding=0, rngs=rngs)
        self.norm = LayerNorm(channels, rngs=rngs)
        self.blocks = nnx.List([Block(channels, rngs) for _ in range(blocks)])
        self.stages = nnx.List([])
        for more, blocks in rest:
            self.stages.append(Stage(channels, more, blocks, rngs))
            channels = more
        self.last = LayerNorm(channels, rngs=rngs)
        self.classify = nnx.Linear(channels, model.classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.norm(self.stem(x))
        for part in (*self.blocks, *self.stages):
            x = part(x)
        return self.classify(self.last(x.mean((1, 2))))
