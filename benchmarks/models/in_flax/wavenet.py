"""WaveNet."""

import jax
import jax.numpy as jnp
from flax import nnx

from ..architectures import Model, wavenet


def causal(inputs: int, outputs: int, dilation: int, rngs: nnx.Rngs) -> nnx.Conv:
    """Of two taps: this sample and the one `dilation` before it."""
    return nnx.Conv(inputs, outputs, (2,), padding=[(dilation, 0)], kernel_dilation=dilation, rngs=rngs)


class Block(nnx.Module):
    """[N, samples, residual] -> the same for the next block, and [N, samples, skip]."""

    def __init__(self, residual: int, skip: int, dilation: int, rngs: nnx.Rngs):
        self.gated = causal(residual, 2 * residual, dilation, rngs)
        self.residual = nnx.Conv(residual, residual, (1,), rngs=rngs)
        self.skip = nnx.Conv(residual, skip, (1,), rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        signal, gate = jnp.split(self.gated(x), 2, axis=-1)
        gated = nnx.tanh(signal) * nnx.sigmoid(gate)
        return x + self.residual(gated), self.skip(gated)


class WaveNet(nnx.Module):
    """[N, samples, channels] -> [N, samples, classes]."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        residual, skip, dilations = wavenet(model)
        self.input = causal(model.image[-1], residual, 1, rngs)
        self.blocks = nnx.List([Block(residual, skip, dilation, rngs) for dilation in dilations])
        self.head = nnx.Conv(skip, skip, (1,), rngs=rngs)
        self.classify = nnx.Conv(skip, model.classes, (1,), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, skips = self.input(x), []
        for block in self.blocks:
            x, skip = block(x)
            skips.append(skip)
        return self.classify(nnx.relu(self.head(nnx.relu(sum(skips)))))
