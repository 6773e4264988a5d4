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
    for dtype in ("float32", "bfloat16"):
        layer = row.init(dtype=dtype)
        assert [leaf.shape for leaf in jax.tree.leaves(layer)] == row.shapes
        assert {leaf.dtype for leaf in jax.tree.leaves(layer)} == {jnp.dtype(dtype)}
        assert (layer.bias == 0).all()
        assert jax.eval_shape(layer, jax.ShapeDtypeStruct(row.x, dtype)).dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(row.init())} == {jnp.dtype("float32")}


@every_layer
def test_initialisers_see_one_convolution(row):
    """A group, or a position, with its own fans, and weights of its own."""
    seen = []

    def initialiser(key, shape, dtype):
        seen.append(shape)
        return jax.random.normal(key, shape, dtype)

    layer, again = (made(row, kernel_init=initialiser, bias_init=initialiser) for _ in range(2))
    assert seen == 2 * row.drawn
    weights = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(layer)])
    assert len(np.unique(weights)) == weights.size
    jax.tree.map(np.testing.assert_array_equal, layer, again)


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
        ({"kernel_init": jax.nn.initializers.he_normal()}, 2 / fan_in),
        ({"kernel_init": scaled(3.0, "fan_out", "uniform")}, 3 / fan_out),
        ({"kernel_init": jax.nn.initializers.glorot_uniform()}, 2 / (fan_in + fan_out)),
    ):
        kernel = np.asarray(init(**kernel_init).kernel)
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
    layer = made(row, bias=False)
    assert layer.bias is None and [leaf.shape for leaf in jax.tree.leaves(layer)] == row.shapes[:-1]
    assert jax.eval_shape(layer, random(row.x)).shape == jax.eval_shape(row.reference, made(row), random(row.x)).shape


def test_printed():
    layer = nn.Conv.init(KEY, 3, 16, (3, 3), bias=False, algorithm="im2col")
    assert repr(layer) == (
        "Conv(kernel=float32[3,3,3,16], bias=None, stride=(1, 1), padding='SAME', dilation=(1, 1), groups=1, "
        "padding_mode='zeros', layout='NHWC', algorithm='im2col')"
    )
    shapes = jax.eval_shape(lambda: layer)
    assert repr(shapes) == repr(layer)
    assert "kernel=None" in repr(jax.tree.map(lambda leaf: None, layer))
