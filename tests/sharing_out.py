"""A convolution on a mesh of two by four devices, and what its program sends."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv._bench.collectives import traffic

NHWC = ("NHWC", "HWIO", "NHWC")
SAME = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC}


def mesh(kind=AxisType.Auto):
    return jax.make_mesh((2, 4), ("x", "y"), axis_types=(kind, kind))


def random(shape, seed=0, dtype="float64"):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def sent(f, *args):
    """Kind of collective -> what the compiled program sends by it."""
    return traffic(jax.jit(f).lower(*args).compile().as_text() or "")


def collectives(f, *args):
    """How many of each kind are in the compiled program."""
    return {kind: each.instructions for kind, each in sent(f, *args).items()}


def put(x, *spec):
    return jax.device_put(x, NamedSharding(mesh(), P(*spec)))


PERMUTES, REDUCE, NONE = {"collective-permute": 2}, {"all-reduce": 1}, {}
IMAGE, KERNEL = (8, 16, 16, 4), (3, 3, 4, 8)
