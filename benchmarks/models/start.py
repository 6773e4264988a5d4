"""What all contestants start from: parameters and data, in a file."""

from math import prod
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from . import in_flax
from .architectures import NOISE, Model

Arrays = dict[str, NDArray]
LAYER_SCALE = 0.1  # not the paper's 1e-6, which would hide from the losses what the blocks compute
# The last normalization of a residual block. From 1 on, as in the papers, deep networks that normalize small batches
# are chaotic: rounding errors of the first step decide on the losses of the third.
RESIDUAL_SCALE = 0.2
CONSTANT = {"bias": 0, "gamma": LAYER_SCALE, "project.norm.scale": RESIDUAL_SCALE, "scale": 1}  # by the end of the name
SEPARATOR = "."


def names(tree: nnx.State) -> list[str]:
    """Of its leaves, in their order: "stem.conv.kernel"."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path, simple=True, separator=SEPARATOR).removesuffix(".value") for path, _ in paths]


def parameters(model: Model) -> Arrays:
    """Random ones by "part.name", float32, in flax's shapes: kernels are [*taps, inputs, outputs]."""
    rng, found = np.random.default_rng(0), {}
    for part, net in in_flax.build(model).items():
        state = nnx.state(net, nnx.Param)
        for name, leaf in zip(names(state), jax.tree.leaves(state), strict=True):
            if name.endswith("kernel"):
                value = rng.standard_normal(leaf.shape, np.float32) * np.float32(np.sqrt(2 / prod(leaf.shape[:-1])))
            else:
                value = np.full(leaf.shape, next(value for end, value in CONSTANT.items() if name.endswith(end)))
            found[f"{part}{SEPARATOR}{name}"] = value.astype(np.float32)
    return found


def data(model: Model, batch: int) -> Arrays:
    """Images [N, *size, channels] with labels, [N], or [N, *size] for volumes and sounds; a DCGAN has noise [N, NOISE]
    instead."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((batch, *model.image), np.float32)
    if not model.classes:
        return {"images": np.tanh(images), "noise": rng.standard_normal((batch, NOISE), np.float32)}
    each = () if len(model.image) == 3 else model.image[:-1]
    return {"images": images, "labels": rng.integers(model.classes, size=(batch, *each)).astype(np.int32)}


def save(path: Path, model: Model, batch: int) -> None:
    """Both, for `load`."""
    arrays = {f"parameter {name}": value for name, value in parameters(model).items()}
    np.savez(path, **arrays, **{f"data {name}": value for name, value in data(model, batch).items()})  # pyright: ignore


def load(path: Path) -> tuple[Arrays, Arrays]:
    """Parameters and data."""
    found: dict[str, Arrays] = {"parameter": {}, "data": {}}
    with np.load(path) as file:
        for key in file:
            kind, name = key.split(" ", 1)
            found[kind][name] = file[key]
    return found["parameter"], found["data"]
