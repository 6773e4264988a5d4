"""Layers compute what lax does, under every transformation, and are pytrees of their weights."""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import equations
from layers import CHANNELS_FIRST, KEY, ROWS, every_layer, made, random

from jaxconv import nn
from jaxconv.testing import error_bound


def random_like(tree, seed):
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten([random(leaf.shape, seed + i) for i, leaf in enumerate(leaves)])


def with_derivatives(apply):
    """The value, the derivative along tangents and the gradients for a cotangent."""

    def both(layer, x, dlayer, dx, cotangent):
        value, tangent = jax.jvp(apply, (layer, x), (dlayer, dx))
        return value, tangent, jax.vjp(apply, layer, x)[1](cotangent)

    return both


def agree(got, expected, magnitude, terms):
    """Entry by entry: sums of so many products, computed twice, of so large magnitudes."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for one, like, most in zip(*map(jax.tree.leaves, (got, expected, magnitude)), strict=True):
        assert one.shape == like.shape and one.dtype == like.dtype
        assert (abs(one - like) <= 4 * error_bound("float64", terms) * most).all()


@every_layer
def test_value_and_derivatives_are_those_of_lax(row):
    """Also under vmap, where x has no batch axis, and with channels first."""
    layer, x = made(row), random(row.x)
    first = made(row, layout=CHANNELS_FIRST[layer.layout])
    out = jax.eval_shape(row.reference, layer, x)
    others = random_like(layer, 2), random(row.x, 7), random(out.shape, 8)

    @jax.jit
    def ours(layer, x, *others):
        each = jax.vmap(layer)(x)
        of_first = jnp.moveaxis(first(jnp.moveaxis(x, -1, 1)), 1, -1)
        return *with_derivatives(lambda layer, x: layer(x))(layer, x, *others), each, of_first

    @jax.jit
    def theirs(*arrays):
        value, *derivatives = with_derivatives(row.reference)(*arrays)
        return value, *derivatives, value, value

    arrays = (layer, x, *others)
    magnitude = theirs(*jax.tree.map(abs, arrays))
    agree(ours(*arrays), theirs(*arrays), magnitude, terms=max(row.terms, prod(row.x)))


CHOOSING = {name: row for name, row in ROWS.items() if "Local" not in name}


@pytest.mark.parametrize("row", CHOOSING.values(), ids=CHOOSING)
@pytest.mark.parametrize("algorithm", [None, "naive"])
def test_algorithm_is_that_of_the_layer(row, algorithm):
    program = equations(made(row, algorithm=algorithm), random(row.x))
    requests = [equation.params["request"] for equation in program if equation.primitive.name == "jaxconv"]
    assert len(requests) == 1 + (row.init.func.__self__ is nn.SeparableConv)
    assert {request.algorithm for request in requests} == {algorithm}


@every_layer
def test_is_a_pytree_of_its_arrays(row, tmp_path):
    """Updated, kept in a file and brought back, with the same settings."""
    layer = made(row)
    leaves, structure = jax.tree.flatten(layer)
    same, other = (
        jax.tree.structure(jax.eval_shape(lambda layout=layout: made(row, layout=layout)))
        for layout in (layer.layout, CHANNELS_FIRST[layer.layout])
    )
    assert structure == same and hash(structure) == hash(same) and structure != other
    np.savez(tmp_path / "layer.npz", *leaves)
    with np.load(tmp_path / "layer.npz") as file:
        restored = structure.unflatten(file.values())
    jax.tree.map(np.testing.assert_array_equal, restored, layer)
    assert repr(restored) == repr(layer)
    updated = jax.tree.map(lambda weight, step: weight - 0.1 * step, layer, layer)
    np.testing.assert_allclose(updated.bias, 0.9 * layer.bias, 1e-12)
    named, _ = jax.tree_util.tree_flatten_with_path(layer)
    assert [jax.tree_util.keystr(path) for path, _ in named][-1] == ".bias"


def test_settings_are_static():
    traces = []

    @jax.jit
    def apply(layer, x):
        traces.append(layer)
        return layer(x)

    x = jnp.ones((1, 5, 2), "float32")
    apply(nn.Conv.init(KEY, 2, 3, (3,)), x)
    apply(nn.Conv.init(jax.random.key(1), 2, 3, 3, layout="NWC", stride=(1,), padding="same"), x)
    assert len(traces) == 1
    apply(nn.Conv.init(KEY, 2, 3, (3,), dilation=2), x)
    assert len(traces) == 2


def test_layers_of_an_ensemble():
    """Made, applied and differentiated under vmap."""
    keys, x = jax.random.split(KEY, 3), random((3, 1, 5, 2))
    init = partial(nn.Conv.init, in_channels=2, out_channels=4, kernel_size=(3,), groups=2, dtype="float64")
    layers = jax.vmap(init)(keys)
    loss = jax.jit(jax.vmap(jax.value_and_grad(lambda layer, x: (layer(x) ** 2).sum())))
    values, gradients = loss(layers, x)
    one = jax.value_and_grad(lambda layer, x: (layer(x) ** 2).sum())(init(keys[1]), x[1])
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12),
        (values[1], jax.tree.map(lambda leaf: leaf[1], gradients)),
        one,
    )


def stripes(key, count):
    """Noisy 8 x 8 pictures of stripes, upright or level, at any offset: (count, 8, 8, 1), and which."""
    key_of = iter(jax.random.split(key, 3))
    upright = jax.random.bernoulli(next(key_of), shape=(count,))
    offset = jax.random.randint(next(key_of), (count, 1, 1), 0, 4)
    place = jnp.where(upright[:, None, None], jnp.arange(8)[None, :, None], jnp.arange(8)[None, None, :])
    clean = ((place + offset) % 4 < 2).astype("float32") + jnp.zeros((count, 8, 8), "float32")
    return (clean + 0.5 * jax.random.normal(next(key_of), clean.shape, "float32"))[..., None], upright


def test_a_network_of_layers_learns():
    """No single pixel tells the classes apart: at any offset they look alike."""
    keys = iter(jax.random.split(KEY, 5))
    network = {
        "conv": nn.Conv.init(next(keys), 1, 8, (3, 3), padding_mode="circular"),
        "separable": nn.SeparableConv.init(next(keys), 8, 16, (3, 3), stride=2),
        "up": nn.ConvTranspose.init(next(keys), 16, 1, (2, 2), stride=2),
    }

    def logits(network, x):
        x = jax.nn.relu(network["conv"](x))
        x = jax.nn.relu(network["separable"](x))
        return network["up"](x).mean((1, 2, 3))

    def loss(network, x, upright):
        return jnp.logaddexp(0, jnp.where(upright, -1, 1) * logits(network, x)).mean()

    @jax.jit
    def train(network, key):
        def step(network, key):
            value, gradient = jax.value_and_grad(loss)(network, *stripes(key, 32))
            return jax.tree.map(lambda weight, slope: weight - 0.3 * slope, network, gradient), value

        return jax.lax.scan(step, network, jax.random.split(key, 200))

    trained, losses = train(network, next(keys))
    x, upright = stripes(next(keys), 200)
    assert losses[-1] < 0.2 < 0.6 < losses[0]
    assert ((logits(trained, x) > 0) == upright).mean() > 0.95
