"""A small network on scikit-learn's handwritten digits, trained through im2col and through lax from the same seed."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from .._conv import conv_general_dilated

LAYOUT = ("NHWC", "HWIO", "NHWC")
EPOCHS, BATCH, RATE, MOMENTUM = 12, 50, 0.05, 0.9
CONVOLUTIONS = {"im2col": partial(conv_general_dilated, algorithm="im2col"), "lax": lax.conv_general_dilated}


def init(key: jax.Array) -> dict[str, jax.Array]:
    """He-normal weights of two convolutions and a classifier."""
    shapes = {"conv1": (3, 3, 1, 16), "conv2": (3, 3, 16, 32), "dense": (4 * 4 * 32, 10)}
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.normal(k, shape) * np.sqrt(2 / np.prod(shape[:-1]))
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def logits(params: dict[str, jax.Array], images: jax.Array, convolution: Any) -> jax.Array:
    """images [N, 8, 8, 1] -> [N, 10]."""
    x = jax.nn.relu(convolution(images, params["conv1"], (1, 1), "SAME", dimension_numbers=LAYOUT))
    x = jax.nn.relu(convolution(x, params["conv2"], (2, 2), "SAME", dimension_numbers=LAYOUT))
    return x.reshape(len(x), -1) @ params["dense"]


@partial(jax.jit, static_argnames="convolution")
def step(params, velocity, images, labels, convolution):
    """One step of gradient descent with momentum."""

    def loss(params):
        scores = jax.nn.log_softmax(logits(params, images, convolution))
        return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocity, gradient)
    return jax.tree.map(jnp.add, params, velocity), velocity, value


def show(console: Console, out: Path) -> bool:
    """A table of losses and accuracies. True if both learn, and learn the same step by step."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.25, random_state=0, stratify=labels
    )
    steps = len(train) // BATCH
    losses: dict[str, list[float]] = {}
    accuracy: dict[str, float] = {}
    with Progress(console=console, transient=True) as progress:
        for name, convolution in CONVOLUTIONS.items():
            params = init(jax.random.key(0))
            velocity = jax.tree.map(jnp.zeros_like, params)
            order = np.random.default_rng(0)
            losses[name] = []
            for _ in progress.track(range(EPOCHS), description=f"digits, {name}"):
                for rows in order.permutation(len(train))[: steps * BATCH].reshape(steps, BATCH):
                    params, velocity, loss = step(params, velocity, train[rows], train_labels[rows], convolution)
                    losses[name].append(float(loss))
            predicted = logits(params, jnp.asarray(test), convolution).argmax(1)
            accuracy[name] = float(np.mean(np.asarray(predicted) == test_labels))

    table = Table(title=f"Digits: {len(train)} to learn from, {len(test)} held out, {EPOCHS} epochs")
    for column in ("through", "first loss", "last epoch's loss", "held-out accuracy"):
        table.add_column(column, justify="left" if column == "through" else "right")
    for name, curve in losses.items():
        table.add_row(name, f"{curve[0]:.4f}", f"{np.mean(curve[-steps:]):.4f}", f"{accuracy[name]:.1%}")
    console.print(table)
    apart = float(np.max(np.abs(np.subtract(losses["im2col"], losses["lax"]))))
    learned, same = min(accuracy.values()) > 0.95, apart < 1e-3
    console.print(f"largest difference between the two losses in {len(losses['lax'])} steps: {apart:.1e}")
    console.print(f"both above 95 %: {'yes' if learned else 'NO'}; same losses: {'yes' if same else 'NO'}\n")
    return learned and same
