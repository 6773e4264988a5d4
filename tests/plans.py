"""A plan, a program that it is for, and the algorithms that run in it."""

import jax
import jax.numpy as jnp
import pytest
from counting import recorded

import jaxconv
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned

LHS, RHS = jnp.ones((2, 3, 8, 8), "float32"), jnp.ones((4, 3, 3, 3), "float32")


def conv(lhs, rhs):
    return jax.lax.conv(lhs, rhs, (1, 1), "SAME")


def step(lhs, rhs):
    return jax.value_and_grad(lambda rhs: (conv(jnp.tanh(conv(lhs, rhs)[:, :3]), rhs) ** 2).sum())(rhs)


def plan_of(algorithm, *shapes, **more):
    """A plan that takes the algorithm for the forward convolution."""
    geometry = geometry_of(*(shapes or (LHS, RHS)), (1, 1), "SAME")
    return Plan(conditions(), {geometry: Tuned(algorithm, {algorithm: 1e-6, "xla": 1e-5}, {algorithm: 1.0})}, **more)


def ran(f, *args):
    """The algorithms that lowering `f` ran."""
    with pytest.MonkeyPatch.context() as patch:
        names = recorded(patch)
        jax.jit(lambda *args: f(*args)).lower(*args)
    return names or ["xla"]


@pytest.fixture(scope="module")
def tuned():
    return jaxconv.autotune(step, LHS, RHS, seconds=60, progress=False)
