"""What sharing a convolution out costs: no collectives but those that it needs, and no more than lax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from sharing_out import IMAGE, KERNEL, NHWC, NONE, PERMUTES, REDUCE, SAME, collectives, mesh, put, random, sent

import jaxconv


def roles(conv, lhs, rhs, lhs_spec, rhs_spec, out_spec, **arguments):
    """Role -> function and sharded arguments. Cotangents are sharded as the result is."""

    def f(lhs, rhs):
        return conv(lhs, rhs, **{**SAME, **arguments})

    out = put(random(jax.eval_shape(f, lhs, rhs).shape, 2), *out_spec)
    put_lhs, put_rhs = put(lhs, *lhs_spec), put(rhs, *rhs_spec)
    return {
        "forward": (f, put_lhs, put_rhs),
        "input-grad": (lambda out, rhs: jax.linear_transpose(lambda lhs: f(lhs, rhs), lhs)(out)[0], out, put_rhs),
        "weight-grad": (lambda out, lhs: jax.linear_transpose(lambda rhs: f(lhs, rhs), rhs)(out)[0], out, put_lhs),
    }


BOTH = {"collective-permute": 2, "all-reduce": 1}

# What is sharded: shapes, shardings of lhs, rhs and out, arguments; and what each role may cost. A weight gradient adds
# up what the shards of images and positions have; of a sharded image it meets the neighbours' rows like the others.
RULES = {
    "batch": (IMAGE, KERNEL, ("x",), (), ("x",), {}, NONE, NONE, REDUCE),
    "batch over all": (IMAGE, KERNEL, (("x", "y"),), (), (("x", "y"),), {}, NONE, NONE, REDUCE),
    "output channels": (IMAGE, KERNEL, (), (None, None, None, "y"), (None, None, None, "y"), {}, NONE, REDUCE, NONE),
    "input channels": (IMAGE, KERNEL, (None, None, None, "y"), (None, None, "y"), (), {}, REDUCE, NONE, NONE),
    "groups": (
        (8, 16, 16, 16), (3, 3, 2, 16), (None, None, None, "y"), (None, None, None, "y"), (None, None, None, "y"),
        {"feature_group_count": 8}, NONE, NONE, NONE,
    ),
    "batch, of groups": (
        (8, 16, 16, 16), (3, 3, 2, 16), ("x",), (), ("x",), {"feature_group_count": 8}, NONE, NONE, REDUCE,
    ),
    "batch, of depthwise": (
        (8, 16, 16, 16), (3, 3, 1, 16), ("x",), (), ("x",), {"feature_group_count": 16}, NONE, NONE, REDUCE,
    ),
    "batch and groups": (
        (8, 16, 16, 16), (3, 3, 1, 16), ("x", None, None, "y"), (None, None, None, "y"), ("x", None, None, "y"),
        {"feature_group_count": 16}, NONE, NONE, REDUCE,
    ),
    "rows": (IMAGE, KERNEL, (None, "y"), (), (None, "y"), {}, PERMUTES, PERMUTES, BOTH),
    "batch and rows": (IMAGE, KERNEL, ("x", "y"), (), ("x", "y"), {}, PERMUTES, PERMUTES, BOTH),
    "rows of few channels": (
        (8, 16, 16, 16), (3, 3, 1, 16), (None, "y"), (), (None, "y"), {"feature_group_count": 16},
        PERMUTES, PERMUTES, BOTH,
    ),
    "rows and columns": (
        IMAGE, KERNEL, (None, "y", "x"), (), (None, "y", "x"), {},
        {"collective-permute": 4}, {"collective-permute": 4}, {"collective-permute": 4, "all-reduce": 1},
    ),
    "rows, atrous": (IMAGE, KERNEL, (None, "y"), (), (None, "y"), {"rhs_dilation": (2, 2)}, PERMUTES, PERMUTES, BOTH),
    "rows, stride": (
        (8, 16, 16, 4), (3, 3, 4, 8), (None, "y"), (), (None, "y"), {"window_strides": (2, 2)},
        {"collective-permute": 1}, {"collective-permute": 1}, {"collective-permute": 1, "all-reduce": 1},
    ),
    "rows, transposed": (
        (8, 16, 16, 4), (4, 4, 4, 8), (None, "y"), (), (None, "y"),
        {"lhs_dilation": (2, 2), "padding": ((2, 2), (2, 2))}, PERMUTES, PERMUTES, BOTH,
    ),
    "rows, one tap": (IMAGE, (1, 1, 4, 8), (None, "y"), (), (None, "y"), {}, NONE, NONE, REDUCE),
}  # fmt: skip


@pytest.mark.parametrize("what", RULES)
def test_only_the_collectives_it_needs(what):
    lhs, rhs, *specs, arguments, forward, input_grad, weight_grad = RULES[what]
    rules = {"forward": forward, "input-grad": input_grad, "weight-grad": weight_grad}
    lhs, rhs = random(lhs), random(rhs, 1)
    ours = roles(jaxconv.conv_general_dilated, lhs, rhs, *specs, **arguments)
    theirs = roles(lax.conv_general_dilated, lhs, rhs, *specs, **arguments)
    for role, rule in rules.items():
        got, lax_needs = sent(*ours[role]), sent(*theirs[role])
        assert {kind: each.instructions for kind, each in got.items()} == rule, role
        assert sum(each.sent for each in got.values()) <= sum(each.sent for each in lax_needs.values()), role
        if "all-gather" not in lax_needs:  # one that brings everything may stand for several that bring less
            assert sum(rule.values()) <= sum(each.instructions for each in lax_needs.values()), role


def test_grouped_batches_are_not_gathered():
    """Where XLA gathers the batch of lax's."""
    lhs, rhs, *specs, arguments, _, _, _ = RULES["batch, of groups"]
    theirs = roles(lax.conv_general_dilated, random(lhs), random(rhs), *specs, **arguments)
    assert "all-gather" in collectives(*theirs["forward"])


def chain(conv):
    """A layer without padding, whose results do not come out even, and another of these."""

    def f(lhs, rhs):
        middle = jnp.tanh(conv(lhs, rhs, (1, 1), "VALID", dimension_numbers=NHWC))
        return conv(middle, rhs, (2, 2), "SAME", dimension_numbers=NHWC).sum()

    return jax.grad(f, (0, 1))


def test_uneven_shards_are_not_gathered():
    lhs, rhs = random((2, 19, 8, 3))[:, :18], random((3, 3, 3, 3), 1)

    def f(lhs, rhs):
        lhs = lax.with_sharding_constraint(lhs, NamedSharding(mesh(), P(None, "y")))
        return chain(jaxconv.conv_general_dilated)(lhs, rhs)[1]

    assert set(collectives(f, lhs, rhs)) == {"collective-permute", "all-reduce"}
    np.testing.assert_allclose(jax.jit(f)(lhs, rhs), chain(lax.conv_general_dilated)(lhs, rhs)[1], 1e-12, 1e-12)


def test_convolutions_of_lax_are_shared_out_too():
    lhs, rhs, *specs, arguments, forward, _, _ = RULES["batch, of groups"]

    def conv(*operands, **arguments):
        return jaxconv.accelerate(lambda *operands: lax.conv_general_dilated(*operands, **arguments))(*operands)

    assert collectives(*roles(conv, random(lhs), random(rhs), *specs, **arguments)["forward"]) == forward
    jaxconv.install()
    try:
        theirs = roles(lax.conv_general_dilated, random(lhs), random(rhs), *specs, **arguments)
        assert collectives(*theirs["forward"]) == forward
    finally:
        jaxconv.uninstall()
