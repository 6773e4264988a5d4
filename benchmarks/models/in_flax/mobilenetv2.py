"""MobileNetV2."""

import jax
from flax import nnx

from ..architectures import Bottleneck, Model, mobilenetv2
from .layers import ConvNorm


class Block(nnx.Module):
    """An inverted residual: wide inside, each channel convolved by itself."""

    def __init__(self, block: Bottleneck, rngs: nnx.Rngs):
        self.residual = block.stride == 1 and block.inputs == block.outputs
        self.expand = None if block.inner == block.inputs else ConvNorm(block.inputs, block.inner, 1, rngs)
        self.depthwise = ConvNorm(block.inner, block.inner, 3, rngs, stride=block.stride, groups=block.groups)
        self.project = ConvNorm(block.inner, block.outputs, 1, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x if self.expand is None else nnx.relu6(self.expand(x))
        y = self.project(nnx.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nnx.Module):
    """[N, height, width, channels] -> [N, classes]."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        stem, blocks, head = mobilenetv2(model)
        self.stem = ConvNorm(model.image[-1], stem, 3, rngs, stride=2)
        self.blocks = nnx.List([Block(block, rngs) for block in blocks])
        self.head = ConvNorm(blocks[-1].outputs, head, 1, rngs)
        self.classify = nnx.Linear(head, model.classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.classify(nnx.relu6(self.head(x)).mean((1, 2)))
