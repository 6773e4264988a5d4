r"""What chips send each other in a training step, from geometry alone: surface against volume.

Let an image have `size` rows along an axis that s chips share, so `own = size / s` each, and let a convolution dilate
it `up` times, pad it by (low, high) and take `kernel` taps at every `stride`-th position, where stride times its
results is size times up. The results of shard j begin at the position stride t = j own up of the padded image and end
before (j + 1) own up; they meet the rows i with

    j own up - low  <=  i up  <=  (j + 1) own up - stride + kernel - 1 - low,

so of the shard before its last floor(low / up) rows, and of the shard after its first
max(0, floor((kernel - 1 - low - stride) / up) + 1). For 3 taps that is one row on each side, of strides of 2 one on one
side, and none for transposed convolutions of 2 taps with stride 2 and for 1x1: their windows do not overlap.

A row is the extent of a shard along the other axes, with what was received along those exchanged before, times the
channels, times two bytes. Forward, every convolution's input goes that way. Backward, but for the first convolution,
whose input is data, it depends on who writes the program:

    spatial      the cotangents of the rows that were received go back to where these came from
    accelerate   the gradient of the input is a convolution itself, of the output's cotangent: strides and dilation
                 exchanged, kernel - 1 - low for low, the output's channels; its halos are fetched as above

Weight gradients need no more: the rows of the forward pass are still there. So per convolution what is sent is a
surface, about (left + right) size^(ndim - 1) / s channels each way, while what is computed is a volume, of size^ndim /
s^2. A chip within the image sends both ways, one at its edge one way.

Weights are on every chip. Their gradients are summed over all n of them: of B bytes a ring sends 2 (n - 1) / n of B
from each chip (`jaxconv._bench.collectives`), however the image is shared. They are bfloat16; those of kernels are
float32 within `accelerate`, which rounds the parts of a sum once, together. (At its full effort XLA narrows those sums,
too, to what they are rounded to in the end; the programs of this benchmark are made with less.)
"""

from itertools import product
from math import prod
from typing import NamedTuple

from .layouts import Layout
from .networks import Network, convolutions

WIDTH = 2  # bytes of a bfloat16
# https://cloud.google.com/tpu/docs/v5e: of a chip 197 TFLOPs in bfloat16, and 400 GBps over its four links in both
# directions together, so half of that out.
PEAK = 197e12
OUT = 200e9


class Cost(NamedTuple):
    """Of a training step, on the chip that sends most. halos, gradients: bytes sent; flops: two for a multiply-add."""

    halos: int
    gradients: int
    flops: float

    @property
    def ratio(self) -> float:
        """Seconds of sending over all links at once by seconds of computing at peak, at the published rates."""
        return (self.halos + self.gradients) / OUT / (self.flops / PEAK)


def cost(network: Network, layout: Layout, contestant: str = "spatial") -> Cost:
    """What a chip does in a step, of "spatial" or "accelerate".

    Raises:
      ValueError: where the rows of a level cannot be shared out evenly.
    """
    for each in convolutions(network):
        for shards in layout.space:
            if each.size % shards or each.results % shards:
                raise ValueError(f"{each.name} has {each.size} rows, which {shards} chips cannot share evenly")
    accelerated = contestant == "accelerate"
    return Cost(_halos(network, layout, accelerated), _gradients(network, layout, accelerated), _flops(network, layout))


def halo(kernel: int, stride: int, up: int, low: int) -> tuple[int, int]:
    """Rows that a shard needs of the one before and of the one after."""
    return low // up, max(0, (kernel - 1 - low - stride) // up + 1)


class Exchange(NamedTuple):
    """Rows that every shard receives of the one before and of the one after, of an image of `size` along each axis."""

    left: int
    right: int
    size: int
    channels: int


def exchanges(network: Network, accelerated: bool) -> list[Exchange]:
    """Of a step."""
    found = []
    for i, each in enumerate(convolutions(network)):
        low, _ = each.padding
        left, right = halo(each.kernel, each.stride, each.up, low)
        found.append(Exchange(left, right, each.size, each.inputs))
        if i and accelerated:
            found.append(
                Exchange(*halo(each.kernel, each.up, each.stride, each.kernel - 1 - low), each.results, each.outputs)
            )
        elif i:
            found.append(Exchange(right, left, each.size, each.inputs))
    return found


def _halos(network: Network, layout: Layout, accelerated: bool) -> int:
    """Bytes that the chip sends which sends most."""
    ahead, back = (
        [0] * len(layout.space) for _ in range(2)
    )  # along each axis, to the chip after and to the one before
    for each in exchanges(network, accelerated):
        extent = [each.size // shards for shards in layout.space] + [each.size] * (network.ndim - len(layout.space))
        for axis, shards in enumerate(layout.space):
            if shards > 1:
                row = prod(extent[:axis] + extent[axis + 1 :]) * each.channels * WIDTH
                ahead[axis] += each.left * row
                back[axis] += each.right * row
                extent[axis] += each.left + each.right
    # Along each axis a chip is within, which takes 3 of them, or at one of the edges.
    places = [
        [both[0] + both[1]] if shards > 2 else both for *both, shards in zip(ahead, back, layout.space, strict=True)
    ]
    return max(map(sum, product(*places)))


def _gradients(network: Network, layout: Layout, accelerated: bool) -> int:
    """Bytes that a chip sends for the sums of the gradients, and for that of the loss, a float32."""
    table = convolutions(network)
    kernels = sum(each.kernel**network.ndim * each.inputs * each.outputs for each in table)
    biases = sum(each.outputs for each in table)
    total = kernels * (2 * WIDTH if accelerated else WIDTH) + biases * WIDTH + 4
    return 2 * total * (layout.chips - 1) // layout.chips


def _flops(network: Network, layout: Layout) -> float:
    """Forward, and twice that backward but for the first convolution, whose input needs no gradient."""
    total = 0
    for i, each in enumerate(convolutions(network)):
        # Taps that meet zeros of a dilated input are not computed.
        taps = (each.kernel / each.up) ** network.ndim
        total += 2 * each.results**network.ndim * taps * each.inputs * each.outputs * (3 if i else 2)
    return total / prod(layout.space)
