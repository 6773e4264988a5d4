"""ResNeXt-50, with the stride on the 3x3."""

import jax
from flax import nnx

from ..architectures import Bottleneck, Model, resnext50
from .layers import ConvNorm


class Block(nnx.Module):
    """A residual bottleneck, the 3x3 in groups."""

    def __init__(self, block: Bottleneck, rngs: nnx.Rngs):
        same = block.stride == 1 and block.inputs == block.outputs
        self.reduce = ConvNorm(block.inputs, block.inner, 1, rngs)
        self.grouped = ConvNorm(block.inner, block.inner, 3, rngs, stride=block.stride, groups=block.groups)
        self.project = ConvNorm(block.inner, block.outputs, 1, rngs)
        self.shortcut = None if same else ConvNorm(block.inputs, block.outputs, 1, rngs, stride=block.stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.project(nnx.relu(self.grouped(nnx.relu(self.reduce(x)))))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNeXt50(nnx.Module):
    """[N, height, width, channels] -> [N, classes]."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        stem, blocks = resnext50(model)
        self.stem = ConvNorm(model.image[-1], stem, 7, rngs, stride=2)
        self.blocks = nnx.List([Block(block, rngs) for block in blocks])
        self.classify = nnx.Linear(blocks[-1].outputs, model.classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(nnx.relu(self.stem(x)), (3, 3), (2, 2), ((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
        for block in self.blocks:
            x = block(x)
        return self.classify(x.mean((1, 2)))
