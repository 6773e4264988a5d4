"""Code that cannot be wrapped trains by what is installed: Keras and Haiku."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from installing import assert_same
from installing import clean as clean
from installing import ran as ran
from sklearn.datasets import load_digits

import jaxconv


def digits(count):
    images, labels = load_digits(return_X_y=True)
    return images[:count].reshape(-1, 8, 8, 1).astype("float32") / 16, labels[:count]


def test_keras_fit(ran):
    os.environ["KERAS_BACKEND"] = "jax"  # read by the import
    import keras

    images, labels = digits(192)

    def losses():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
                keras.layers.DepthwiseConv2D(3, strides=2, padding="same"),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
        return model.fit(images, labels, batch_size=64, epochs=2, shuffle=False, verbose=0).history["loss"]  # pyright: ignore

    with jax.enable_x64(False):
        expected = losses()
        assert not ran
        jaxconv.install(algorithm="im2col")
        np.testing.assert_allclose(losses(), expected, 1e-4)
    # Forward both, the weight gradients of both, and the input gradient of the second, whenever it compiles the step.
    assert set(ran) == {"im2col"} and len(ran) >= 5
    assert expected[1] < expected[0]


def test_haiku(ran):
    hk = pytest.importorskip("haiku")
    images, labels = digits(16)

    def network(images):
        layers = hk.Conv2D(4, 3), jax.nn.relu, hk.DepthwiseConv2D(1, 3, stride=2), hk.Conv2DTranspose(3, 3, stride=2)
        return hk.Sequential([*layers, hk.Flatten(), hk.Linear(10)])(images)

    model = hk.without_apply_rng(hk.transform(network))

    @jax.jit
    def loss_and_gradients(params):
        def loss(params):
            scores = jax.nn.log_softmax(model.apply(params, images))
            return -scores[jnp.arange(len(labels)), labels].mean()

        return jax.value_and_grad(loss)(params)

    with jax.enable_x64(False):
        params = model.init(jax.random.key(0), images)
        expected = loss_and_gradients(params)
        assert not ran
        jaxconv.install(algorithm="im2col")
        assert_same(loss_and_gradients(params), expected, 1e-4)
    assert ran == ["im2col"] * 8  # three layers, each with two gradients, but for the images'
