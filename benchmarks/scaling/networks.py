"""The U-Nets, in plain JAX: their convolutions as a table, and a step of training them.

    encoder   at each level two 3x3 convolutions, the first of them with stride 2 below the first level
    decoder   at each level a transposed 2x2 convolution with stride 2, which halves the channels; its result beside the
              encoder's of that level; two 3x3 convolutions
    head      1x1 to the classes

with a bias and, but for the transposed ones and the head, a ReLU after each; nothing else, so that all that devices
need of each other is for convolutions (and the loss, a number). Channels and depth are those of U-Net (Ronneberger et
al., 2015) and of 3-D U-Net (Cicek et al., 2016), of this half the channels, with which a volume fits the memory of 2x2
chips; the steps down are by strides as in nnU-Net (Isensee et al., 2021).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

DTYPE = "bfloat16"  # of activations and of gradients; parameters are float32 between steps
RATE = 1e-3


class Network(NamedTuple):
    """size: of an image along each of `ndim` axes; channels: by level, the full resolution first."""

    ndim: int
    size: int
    channels: tuple[int, ...]
    inputs: int
    classes: int


NETWORKS = {
    "U-Net 2048x2048": Network(2, 2048, (64, 128, 256, 512, 1024), 3, 2),
    "3-D U-Net 256^3": Network(3, 256, (32, 64, 128, 256), 1, 4),
}


class Convolution(NamedTuple):
    """One of a network's. size: of its input, along each axis; stride: of positions, up: of the dilated input."""

    name: str
    size: int
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    up: int = 1

    @property
    def results(self) -> int:
        """Positions along each axis."""
        return self.size * self.up // self.stride

    @property
    def padding(self) -> tuple[int, int]:
        """Along each axis: what makes the results that many."""
        total = self.stride * (self.results - 1) + self.kernel - ((self.size - 1) * self.up + 1)
        return total // 2, total - total // 2


def convolutions(network: Network) -> list[Convolution]:
    """In the order in which they are computed."""
    found, inputs, size = [], network.inputs, network.size
    for level, outputs in enumerate(network.channels):
        stride = 2 if level else 1
        found.append(Convolution(f"down{level}a", size, inputs, outputs, 3, stride))
        size //= stride
        found.append(Convolution(f"down{level}b", size, outputs, outputs, 3))
        inputs = outputs
    for level, outputs in reversed([*enumerate(network.channels[:-1])]):
        found.append(Convolution(f"up{level}", size, inputs, outputs, 2, up=2))
        size *= 2
        found.append(Convolution(f"up{level}a", size, 2 * outputs, outputs, 3))
        found.append(Convolution(f"up{level}b", size, outputs, outputs, 3))
        inputs = outputs
    return [*found, Convolution("head", size, inputs, network.classes, 1)]


def parameters(network: Network) -> dict[str, Any]:
    """Name -> (kernel, bias), as shapes: nothing is computed with them here."""
    return {
        each.name: (
            jax.ShapeDtypeStruct((each.kernel,) * network.ndim + (each.inputs, each.outputs), "float32"),
            jax.ShapeDtypeStruct((each.outputs,), "float32"),
        )
        for each in convolutions(network)
    }


def logits(
    network: Network, convolve: Callable[..., jax.Array], params: dict[str, Any], images: jax.Array
) -> jax.Array:
    """images [N, *S, C] -> [N, *S, classes], channels last; `convolve` takes the arguments of lax's convolution."""
    axes = "DHW"[-network.ndim :]
    numbers = f"N{axes}C", f"{axes}IO", f"N{axes}C"
    table = {each.name: each for each in convolutions(network)}

    def layer(name, x):
        each, n = table[name], network.ndim
        kernel, bias = (array.astype(DTYPE) for array in params[name])
        padding = [each.padding] * n
        return convolve(x, kernel, (each.stride,) * n, padding, (each.up,) * n, (1,) * n, numbers) + bias

    x, skips = images, []
    for level in range(len(network.channels)):
        for part in "ab":
            x = jax.nn.relu(layer(f"down{level}{part}", x))
        skips.append(x)
    for level in reversed(range(len(network.channels) - 1)):
        x = jnp.concatenate([skips[level], layer(f"up{level}", x)], -1)
        for part in "ab":
            x = jax.nn.relu(layer(f"up{level}{part}", x))
    return layer("head", x)


def training_step(
    network: Network, convolve: Callable[..., jax.Array], mean: Callable[[jax.Array], jax.Array]
) -> Callable[..., tuple[dict[str, Any], jax.Array]]:
    """(params, images, labels [N, *S]) -> (params a step on, loss); `mean` is over all pixels of all images."""

    def loss(params, images, labels):
        scores = jax.nn.log_softmax(logits(network, convolve, params, images).astype("float32"))
        wanted = jax.nn.one_hot(labels, network.classes, dtype="float32")
        return -mean(jnp.sum(scores * wanted, -1))

    def step(params, images, labels):
        value, gradients = jax.value_and_grad(loss)(params, images, labels)
        return jax.tree.map(lambda old, slope: old - RATE * slope, params, gradients), value

    return step
