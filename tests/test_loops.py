"""Convolutions in the bodies of loops, scans and conditionals, which XLA compiles otherwise than those outside."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv

FAST = "b01f_01io->b01f"  # the only order that XLA on the CPU has fast code for
CONTROL = {
    "map": lambda f, xs: lax.map(f, xs),
    "scan": lambda f, xs: lax.scan(
        lambda total, x: (total + f(x), None), jnp.zeros(jax.eval_shape(f, xs[0]).shape), xs
    )[0],
    "cond": lambda f, xs: lax.cond(xs.sum() > 0, f, lambda x: -f(x), xs[0]),
}


def orders(f, *args):
    """Of the convolutions of the compiled program, as XLA writes them."""
    return {*re.findall(r" convolution\(.*dim_labels=([^,\s]+)", jax.jit(f).lower(*args).compile().as_text() or "")}


def loss(conv, control, layout):
    def f(xs, rhs):
        return (CONTROL[control](lambda x: conv(x, rhs, (1, 1), "SAME", dimension_numbers=layout), xs) ** 2).sum()

    return jax.value_and_grad(f, (0, 1))


@pytest.mark.parametrize("control", CONTROL)
@pytest.mark.parametrize(
    "layout", [("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NHWC"), ("HWCN", "IHWO", "CNHW")], ids=str
)
def test_lax_s_are_in_the_order_that_is_fast(control, layout):
    """Forward and both gradients."""
    rng = np.random.default_rng(0)
    sizes = {"N": 2, "H": 6, "W": 5, "C": 3}, {"H": 3, "W": 3, "I": 3, "O": 4}
    shapes = [[of[letter] for letter in letters] for of, letters in zip(sizes, layout, strict=False)]
    xs, rhs = jnp.asarray(rng.normal(size=(3, *shapes[0]))), jnp.asarray(rng.normal(size=shapes[1]))

    def conv(*args, **kwargs):
        return jaxconv.conv_general_dilated(*args, **kwargs, algorithm="xla")

    ours, theirs = loss(conv, control, layout), loss(lax.conv_general_dilated, control, layout)
    assert orders(ours, xs, rhs) == {FAST}
    assert orders(theirs, xs, rhs) - {FAST}  # else XLA has learnt it, and need not be helped any more
    jax.tree.map(
        lambda got, expected: np.testing.assert_allclose(got, expected, 1e-12, 1e-12),
        jax.jit(ours)(xs, rhs),
        jax.jit(theirs)(xs, rhs),
    )


def test_groups_are_left_as_they_are():
    """In a loop, XLA's loops over elements are the faster ones for them."""
    xs, rhs = jnp.ones((3, 2, 4, 6, 5)), jnp.ones((4, 1, 3, 3))

    def f(xs, rhs):
        return lax.map(
            lambda x: jaxconv.conv_general_dilated(x, rhs, (1, 1), "SAME", feature_group_count=4, algorithm="xla"), xs
        )

    assert orders(f, xs, rhs) == {"bf01_oi01->bf01"}
