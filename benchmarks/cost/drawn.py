"""Layers drawn at random, as none of the networks has them: what the model is asked for is not always like those."""

import random
from math import prod

from jaxconv._bench.layer import Layer

CHANNELS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
SIDES = {1: (64, 256, 1024, 4096, 16384), 2: (4, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128), 3: (4, 8, 16, 24, 32)}
TAPS = {1: (1, 2, 3, 3, 5, 7, 9, 15, 31, 64), 2: (1, 2, 3, 3, 3, 4, 5, 5, 7, 9, 11, 13, 15), 3: (1, 2, 3, 3, 3, 4, 5)}
PRODUCTS = 10**6, 2 * 10**9  # multiply-adds of one, at the least and at the most
ELEMENTS = 2**23  # of an array, at the most


def drawn(count: int, seed: int = 0) -> dict[str, Layer]:
    """So many by name, the same for the same seed."""
    rng, layers = random.Random(seed), {}
    while len(layers) < count:
        layer = draw(rng)
        if is_of_a_size(layer):
            layers.setdefault(f"{layer.describe()}, {layer.images}", layer)
    return layers


def draw(rng: random.Random) -> Layer:
    """One of any size."""
    ndim = rng.choice((1, 2, 2, 2, 3))
    kind = rng.choice(("dense", "dense", "dense", "depthwise", "grouped", "transposed"))
    inputs, outputs, taps = rng.choice(CHANNELS), rng.choice(CHANNELS), rng.choice(TAPS[ndim])
    spatial, stride, groups = (rng.choice(SIDES[ndim]),) * ndim, rng.choice((1, 1, 1, 2)), 1
    dilation = rng.choice((1, 1, 1, 2, 4)) if stride == 1 and kind != "transposed" else 1
    if kind == "depthwise":
        groups, outputs = inputs, inputs * rng.choice((1, 1, 1, 2))
    if kind == "grouped":
        groups = rng.choice([each for each in (2, 3, 4, 8, 16, 32, 64) if inputs % each == 0] or [1])
        outputs = inputs * rng.choice((1, 1, 2))
    padding = dilation * (taps - 1) // 2 if rng.random() < 0.8 else 0
    up = rng.choice((2, 2, 3)) if kind == "transposed" else 0
    stride = 1 if up else stride
    return Layer(rng.choice((1, 1, 2, 4, 8, 16)), inputs, spatial, outputs, taps, stride, padding, dilation, groups, up)


def is_of_a_size(layer: Layer) -> bool:
    """Whether it can be measured in seconds, and has any results."""
    if min(layer.out_spatial) < 1:
        return False
    elements = max(prod(shape) for shape in (*layer.shapes(), layer.out_shape()))
    return elements <= ELEMENTS and PRODUCTS[0] <= layer.macs <= PRODUCTS[1]
