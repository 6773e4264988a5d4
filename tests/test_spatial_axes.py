"""Shards of images whose spatial axes are said by name: values, gradients, what they cost, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P
from sharing_out import IMAGE, KERNEL, NHWC, PERMUTES, SAME, collectives, mesh, random

import jaxconv

SPATIAL = {
    "same": {"window_strides": (1, 1), "padding": "SAME"},
    "stride, dilation": {"window_strides": (2, 1), "padding": "SAME", "rhs_dilation": (1, 3)},
    "transposed": {"window_strides": (1, 2), "padding": ((2, 1), (2, 2)), "lhs_dilation": (2, 3)},
    "crops": {"window_strides": (1, 1), "padding": ((-3, 5), (1, 1))},
}


@pytest.mark.parametrize("arguments", SPATIAL.values(), ids=SPATIAL)
@pytest.mark.parametrize("names", [("x", "y"), (("y", "x"), None), (None, ("x", "y"))], ids=str)
@pytest.mark.parametrize("bound", [0, 2**24])
def test_spatial_axes_by_name(arguments, names, bound):
    """Of a copy of the window, and in pieces, where nothing may be taken and that can be."""
    lhs, rhs, arguments = random((2, 32, 48, 3)), random((3, 3, 3, 4), 1), {**arguments, "dimension_numbers": NHWC}

    def on_shard(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, **arguments, spatial_axis_name=names, max_workspace_bytes=bound)

    def loss(f):
        return jax.value_and_grad(lambda lhs, rhs: jnp.sin(f(lhs, rhs)).sum(), (0, 1))

    sharded = jax.shard_map(on_shard, mesh=mesh(), in_specs=(P(None, *names), P()), out_specs=P(None, *names))
    got = jax.jit(loss(sharded))(lhs, rhs)
    expected = loss(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, **arguments))(lhs, rhs)
    jax.tree.map(lambda got, expected: np.testing.assert_allclose(got, expected, 1e-12, 1e-12), got, expected)


def test_spatial_axes_by_name_cost_what_the_compiler_would():
    def on_shard(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, **SAME, spatial_axis_name=("y", None))

    sharded = jax.shard_map(on_shard, mesh=mesh(), in_specs=(P("x", "y"), P()), out_specs=P("x", "y"))
    assert collectives(sharded, random(IMAGE), random(KERNEL)) == PERMUTES


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        ("y", {}, "spatial_axis_name must have an entry for each of the 2 spatial dimensions, got 'y'"),
        (("y",), {}, "spatial_axis_name must have an entry for each of the 2 spatial dimensions, got \\('y',\\)"),
        (("y", "y"), {}, "spatial_axis_name must name a mesh axis once, got \\('y', 'y'\\)"),
        (("y", None), {"padding": "VALID"}, "14 results along spatial dimension 0 cannot be shared"),
        (("y", None), {"out_sharding": P()}, "spatial_axis_name is for shards, which have no out_sharding"),
        (("y", None), {"window_strides": (0, 1)}, "window_strides"),
        (("y", None), {"algorithm": "fastest"}, "algorithm must be None or one of"),
    ],
)  # fmt: skip
def test_errors_of_spatial_axes(names, arguments, message):
    def on_shard(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, **{**SAME, **arguments}, spatial_axis_name=names)

    sharded = jax.shard_map(on_shard, mesh=mesh(), in_specs=(P(None, "y"), P()), out_specs=P(None, "y"))
    with pytest.raises(ValueError, match=message):
        sharded(random(IMAGE), random(KERNEL))


def test_a_spatial_axis_needs_a_mesh():
    with pytest.raises(NameError, match="rows"):
        jaxconv.conv_general_dilated(random(IMAGE), random(KERNEL), **SAME, spatial_axis_name=("rows", None))
