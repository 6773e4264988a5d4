"""Layers are made as asked: shapes, types, initial weights."""

from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import KEY, every_layer, made, random

from jaxconv import nn


@every_layer
def test_arrays_are_as_said(row):
    for settings, dtype in (({}, "float32"), ({"dtype": "bfloat16"}, "bfloat16")):
        leaves = jax.tree.leaves(jax.eval_shape(lambda settings=settings: row.init(**settings)))
        assert [leaf.shape for leaf in leaves] == row.shapes
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(dtype)}


@every_layer
def test_initialisers_see_one_convolution(row):
    """A group, or a position, with its own fans, and weights of its own."""
    seen = []

    def initialiser(key, shape, dtype):
        seen.append(shape)
        return jax.random.normal(key, shape, dtype)

    layer = made(row, kernel_init=initialiser, bias_init=initialiser)
    assert seen == row.drawn
    weights = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(layer)])
    assert len(np.unique(weights)) == weights.size


# A layer for an initialiser, and the fans of one of its convolutions. Each has thousands of weights or more.
FANS = {
    "Conv": (lambda **init: nn.Conv.init(KEY, 32, 48, (3, 3), **init), 9 * 32, 9 * 48),
    "Conv, channels first": (lambda **init: nn.Conv.init(KEY, 32, 48, 3, layout="NCHW", **init), 9 * 32, 9 * 48),
    "Conv in groups": (lambda **init: nn.Conv.init(KEY, 64, 32, (3, 3), groups=4, **init), 9 * 16, 9 * 8),
    "DepthwiseConv": (lambda **init: nn.DepthwiseConv.init(KEY, 256, (5, 3), multiplier=2, **init), 15, 30),
    "ConvTranspose": (lambda **init: nn.ConvTranspose.init(KEY, 32, 48, (4,), stride=2, **init), 4 * 32, 4 * 48),
    "ConvTranspose in groups": (lambda **init: nn.ConvTranspose.init(KEY, 64, 32, (9,), groups=4, **init), 144, 72),
    "ConvLocal": (lambda **init: nn.ConvLocal.init(KEY, 6, 10, (3,), (50,), **init), 18, 30),
}


@pytest.mark.parametrize("init, fan_in, fan_out", FANS.values(), ids=FANS)
def test_variances_go_by_the_fans(init, fan_in, fan_out):
    scaled = jax.nn.initializers.variance_scaling
    for kernel_init, variance in (
        ({}, 1 / fan_in),
        ({"kernel_init": scaled(3.0, "fan_out", "uniform")}, 3 / fan_out),
    ):
        layer = init(**kernel_init)
        assert (layer.bias == 0).all()
        kernel = np.asarray(layer.kernel)
        assert abs(kernel.var() / variance - 1) < 6 / sqrt(kernel.size)  # standard error: at most sqrt(2 / size)
        assert abs(kernel.mean()) < 4 * sqrt(variance / kernel.size)


def test_orthogonal_in_each_group():
    layer = nn.Conv.init(KEY, 16, 8, (2, 2), groups=2, kernel_init=jax.nn.initializers.orthogonal())
    for group in np.split(np.asarray(layer.kernel).reshape(-1, 8), 2, axis=1):
        np.testing.assert_allclose(group.T @ group, np.eye(4), atol=1e-6)


def test_local_weights_that_are_the_same_everywhere_are_a_convolution():
    kernel, x = random((3, 2, 3, 4)), random((1, 5, 6, 3), seed=2)

    def initialiser(key, shape, dtype):
        return kernel.astype(dtype).reshape(shape)

    settings = {"stride": (2, 1), "dtype": "float64", "kernel_init": initialiser}
    local = nn.ConvLocal.init(KEY, 3, 4, (3, 2), (5, 6), **settings)
    np.testing.assert_allclose(local(x), nn.Conv.init(KEY, 3, 4, (3, 2), **settings)(x), 1e-12, 1e-12)


@every_layer
def test_without_bias(row):
    x = jax.ShapeDtypeStruct(row.x, "float64")
    with_bias, without = (jax.eval_shape(lambda bias=bias: made(row, bias=bias)) for bias in (True, False))
    assert without.bias is None and [leaf.shape for leaf in jax.tree.leaves(without)] == row.shapes[:-1]
    out = [jax.eval_shape(lambda layer, x: layer(x), layer, x) for layer in (with_bias, without)]
    assert out[0] == out[1] == jax.eval_shape(row.reference, with_bias, x)


def test_sizes_may_be_arrays_of_numpy():
    layer = nn.Conv.init(KEY, 1, 1, np.array([2, 3]), stride=np.array([1, 2]))  # pyright: ignore[reportArgumentType]
    assert layer.kernel.shape == (2, 3, 1, 1) and layer.stride == (1, 2) and layer.layout == "NHWC"


def test_printed():
    layer = nn.Conv.init(KEY, 3, 16, (3, 3), bias=False, algorithm="im2col")
    assert repr(layer) == (
        "Conv(kernel=float32[3,3,3,16], bias=None, stride=(1, 1), padding='SAME', dilation=(1, 1), groups=1, "
        "padding_mode='zeros', layout='NHWC', algorithm='im2col')"
    )
    shapes = jax.eval_shape(lambda: layer)
    assert repr(shapes) == repr(layer)
    assert "kernel=None" in repr(jax.tree.map(lambda leaf: None, layer))
