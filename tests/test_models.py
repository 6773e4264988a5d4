"""Models as their users write them: every convolution is found, and values, gradients and statistics stay."""

import os
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import convolutions
from flax import linen, nnx

import jaxconv

accelerate = partial(jaxconv.accelerate, algorithm="im2col")


@pytest.fixture(autouse=True)
def single_precision():
    """What the libraries are made for. With 64-bit types on, each has its own idea of the default type."""
    with jax.enable_x64(False):
        yield


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape).astype("float32"))


def weighted(out):
    """A loss to which every value of the result contributes differently, so that none can stand in for another."""
    return (out * jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)).sum()


def assert_same(got, expected):
    # Normalization hides a wrong scale from the loss; the statistics show it, but they move little in one step.
    def same(path, got, expected):
        assert jax.typeof(got) == jax.typeof(expected), jax.tree_util.keystr(path)
        np.testing.assert_allclose(got, expected, 1e-4, 1e-5, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(same, got, expected)


def assert_replaced(ours, theirs, args, layers):
    """The same results, from as many convolutions, all of them ours."""
    each = 3  # one forward, one for the gradient of the input, one for that of the kernel
    assert convolutions(theirs, *args) == (each * layers, 0)
    assert convolutions(ours, *args) == (0, each * layers)
    assert_same(jax.jit(ours)(*args), jax.jit(theirs)(*args))


# One ResNet block in three libraries, as their documentation has it. The second convolution is grouped.


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x):
        norm = partial(linen.BatchNorm, use_running_average=False)
        y = linen.relu(norm()(linen.Conv(8, (3, 3), strides=2)(x)))
        y = norm()(linen.Conv(8, (3, 3), feature_group_count=2)(y))
        return linen.relu(y + norm()(linen.Conv(8, (1, 1), strides=2)(x)))


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(4, 8, (3, 3), strides=2, rngs=rngs)
        self.conv2 = nnx.Conv(8, 8, (3, 3), feature_group_count=2, rngs=rngs)
        self.shortcut = nnx.Conv(4, 8, (1, 1), strides=2, rngs=rngs)
        self.norms = nnx.List([nnx.BatchNorm(8, rngs=rngs) for _ in range(3)])

    def __call__(self, x):
        y = nnx.relu(self.norms[0](self.conv1(x)))
        y = self.norms[1](self.conv2(y))
        return nnx.relu(y + self.norms[2](self.shortcut(x)))


class EquinoxBlock(eqx.Module):
    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    shortcut: eqx.nn.Conv2d
    norms: list[eqx.nn.BatchNorm]

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.conv1 = eqx.nn.Conv2d(4, 8, 3, stride=2, padding=1, key=keys[0])
        self.conv2 = eqx.nn.Conv2d(8, 8, 3, padding="SAME", groups=2, key=keys[1])
        self.shortcut = eqx.nn.Conv2d(4, 8, 1, stride=2, key=keys[2])
        self.norms = [eqx.nn.BatchNorm(8, "batch", mode="batch") for _ in range(3)]

    def __call__(self, x, state):
        y, state = self.norms[0](self.conv1(x), state)
        y, state = self.norms[1](self.conv2(jax.nn.relu(y)), state)
        short, state = self.norms[2](self.shortcut(x), state)
        return jax.nn.relu(y + short), state


# Each case gives a loss of parameters, images and what else the model carries along, which it returns updated; its
# arguments; and how many convolutions the model has.


def linen_block():
    model, x = linen.jit(LinenBlock)(), images(2, 8, 8, 4)  # a program within the program
    variables = model.init(jax.random.key(0), x)

    def loss(params, x, statistics):
        out, state = model.apply({"params": params, "batch_stats": statistics}, x, mutable=["batch_stats"])
        return weighted(out), state["batch_stats"]

    return loss, (variables["params"], x, variables["batch_stats"]), 3


def nnx_block():
    graph, params, rest = nnx.split(NnxBlock(nnx.Rngs(0)), nnx.Param, ...)

    def loss(params, x, rest):
        model = nnx.merge(graph, params, rest, copy=True)  # only variables made in this trace may be changed in it
        return weighted(model(x)), nnx.state(model, nnx.BatchStat)

    return loss, (params, images(2, 8, 8, 4), rest), 3


def equinox_loss(model, x, state):
    out, state = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(x, state)
    return weighted(out), state


def equinox_block():
    model, state = eqx.nn.make_with_state(EquinoxBlock)(jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params, x, state):
        return equinox_loss(eqx.combine(params, static), x, state)

    return loss, (params, images(2, 4, 8, 8), state), 3


def linen_transposed():
    layers = [
        linen.ConvTranspose(6, (3, 3), strides=(2, 2)),
        linen.ConvTranspose(4, (3, 2), kernel_dilation=(1, 2), padding="VALID", transpose_kernel=True),
    ]
    model, x = linen.Sequential(layers), images(2, 4, 4, 5)

    def loss(params, x):
        return weighted(model.apply(params, x)), None

    return loss, (model.init(jax.random.key(0), x), x), 2


def keras_layers():
    os.environ["KERAS_BACKEND"] = "jax"  # read by the import
    import keras

    layers = [
        keras.layers.Conv2D(6, 3, strides=2, groups=2, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.DepthwiseConv2D(2, depth_multiplier=2, padding="same"),
        keras.layers.SeparableConv2D(5, 3, padding="same"),  # two convolutions
        keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same"),
    ]
    model, x = keras.Sequential(layers), images(2, 8, 8, 4)
    model.build(x.shape)

    def loss(params, x, rest):
        out, rest = model.stateless_call(params, rest, x, training=True)  # pyright: ignore[reportAssignmentType]
        return weighted(out), rest

    params, rest = ([v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables))
    return loss, (params, x, rest), 5


@pytest.mark.parametrize("case", [linen_block, nnx_block, equinox_block, linen_transposed, keras_layers])
def test_accelerate(case):
    loss, args, layers = case()
    step = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    assert_replaced(accelerate(step), step, args, layers)
    assert "convolution" not in jax.jit(accelerate(step)).lower(*args).as_text()


def linen_layer(x, **options):
    model = linen.Conv(6, (3, 3), strides=2, feature_group_count=2, kernel_dilation=2, **options)
    return model.apply, model.init(jax.random.key(0), x)


def nnx_layer(x, **options):
    rngs = nnx.Rngs(0)
    model = nnx.Conv(x.shape[-1], 6, (3, 3), 2, feature_group_count=2, kernel_dilation=2, rngs=rngs, **options)
    graph, params = nnx.split(model)
    return (lambda params, x: nnx.merge(graph, params)(x)), params


@pytest.mark.parametrize("algorithm", [{}, {"algorithm": "im2col"}], ids=["default", "im2col"])
@pytest.mark.parametrize("layer", [linen_layer, nnx_layer])
def test_as_an_argument_of_the_layer(layer, algorithm):
    """The layers of flax take the function that is to convolve."""
    x = images(2, 8, 8, 4)
    ours = partial(jaxconv.conv_general_dilated, **algorithm) if algorithm else jaxconv.conv_general_dilated

    def step(apply):
        return jax.value_and_grad(lambda params, x: weighted(apply(params, x)), argnums=(0, 1))

    theirs, params = layer(x)
    ours, _ = layer(x, conv_general_dilated=ours)
    assert_replaced(step(ours), step(theirs), (params, x), layers=1)
    assert not algorithm or "convolution" not in jax.jit(step(ours)).lower(params, x).as_text()


def test_nnx_step_that_changes_its_model():
    """The model is taken apart outside of `accelerate` and put together inside, as for any transformation of JAX."""

    def step(model, x):
        loss, gradients = nnx.value_and_grad(lambda model, x: weighted(model(x)))(model, x)
        nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, nnx.state(model, nnx.Param), gradients))
        return loss

    def accelerated_step(model, x):
        graph, state = nnx.split(model)

        def pure(state, x):
            model = nnx.merge(graph, state)
            return step(model, x), nnx.state(model)

        loss, state = accelerate(pure)(state, x)
        nnx.update(model, state)
        return loss

    def run(step):
        model = NnxBlock(nnx.Rngs(0))
        jitted = nnx.jit(step)
        return [jitted(model, x) for _ in range(2)], nnx.state(model)

    x = images(2, 8, 8, 4)
    got, expected = run(accelerated_step), run(step)
    assert_same(got, expected)
    assert got[0][0] != got[0][1], "the first step changed nothing"
    graph, state = nnx.split(NnxBlock(nnx.Rngs(0)))
    assert convolutions(lambda state, x: accelerated_step(nnx.merge(graph, state), x), state, x) == (0, 7)


def test_equinox_step():
    """The model is passed whole, with the strings and flags that Equinox has among its leaves."""

    def step(model, x, state):
        (loss, state), gradients = eqx.filter_value_and_grad(equinox_loss, has_aux=True)(model, x, state)
        return loss, state, eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, gradients))

    model, state = eqx.nn.make_with_state(EquinoxBlock)(jax.random.key(0))
    args = model, images(2, 4, 8, 8), state
    assert_same(*(eqx.filter(eqx.filter_jit(f)(*args), eqx.is_array) for f in (accelerate(step), step)))
    assert convolutions(lambda x: eqx.filter(accelerate(step)(model, x, state), eqx.is_array), args[1]) == (0, 7)
