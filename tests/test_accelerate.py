"""Not one of lax's convolutions is left behind, wherever it is, and nothing else changes."""

from collections import namedtuple
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import convolutions
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxconv


def conv(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", feature_group_count=2)


@jax.custom_jvp
def own_jvp(x, w):
    return conv(x, w)


@own_jvp.defjvp
def _(primals, tangents):
    return own_jvp(*primals), conv(tangents[0], primals[1]) + conv(primals[0], tangents[1])


@jax.custom_vjp
def own_vjp(x, w):
    return conv(x, w)


own_vjp.defvjp(lambda x, w: (conv(x, w), (x, w)), lambda operands, ct: jax.vjp(conv, *operands)[1](ct))


def scan(x, w):
    return lax.scan(lambda x, _: (jnp.tanh(conv(x, w)), conv(x, w).sum()), x, None, length=2)


def loop(x, w):
    return lax.while_loop(
        lambda state: (state[1] < 3) & (conv(state[0], w).sum() < 1e9),
        lambda state: (jnp.tanh(conv(state[0], w)), state[1] + 1),
        (x, 0),
    )


def branch(x, w):
    return lax.switch((x.sum() > 0).astype(int), [conv, lambda x, w: 2 * conv(x, w)], x, w)


def solve(x, w):
    """By as much of a solver as shows where it runs."""
    return lax.custom_linear_solve(lambda y: conv(y, w), x, lambda matvec, b: matvec(b), lambda vecmat, b: vecmat(b))


def on_shards(x, w):
    mesh = jax.make_mesh((min(2, jax.device_count()),), ("a",), axis_types=(AxisType.Auto,))
    return jax.shard_map(conv, mesh=mesh, in_specs=(P("a"), P()), out_specs=P("a"))(x, w)


@jax.jit
def closed_over(x, w):
    """The inner function sees x of the outer trace."""
    return jaxconv.accelerate(lambda w: conv(x, w))(w)


# What is to be found, and how many of lax's convolutions there are.
PLACES = {
    "plain": (conv, 1),
    "jit": (jax.jit(conv), 1),
    "jit in jit": (jax.jit(lambda x, w: jax.jit(conv)(conv(x, w), w)), 2),
    "custom_jvp": (own_jvp, 1),
    "custom_vjp": (own_vjp, 1),
    "checkpoint": (jax.checkpoint(conv), 1),
    "custom_linear_solve": (solve, None),
    "grad of custom_linear_solve": (jax.grad(lambda x, w: solve(x, w).sum()), None),
    "scan": (scan, 2),
    "while": (loop, 2),
    "switch": (branch, 2),
    "vmap": (lambda x, w: jax.vmap(conv, (None, 0))(x, jnp.stack([w, w])), 1),
    "shard_map": (on_shards, 1),
    "custom_batching": (jax.custom_batching.sequential_vmap(conv), 1),
    "grad": (jax.grad(lambda x, w: conv(x, w).sum(), (0, 1)), 3),
    "grad of jit": (jax.grad(lambda x, w: jax.jit(conv)(x, w).sum(), (0, 1)), 3),
    "grad of custom_vjp": (jax.grad(lambda x, w: own_vjp(x, w).sum(), (0, 1)), 4),
    "grad of custom_jvp": (jax.grad(lambda x, w: own_jvp(x, w).sum(), (0, 1)), 3),
    "grad of checkpoint": (jax.grad(jax.checkpoint(lambda x, w: jnp.sin(conv(x, w)).sum()), (0, 1)), 4),
    "grad of scan": (jax.grad(lambda x, w: scan(x, w)[0].sum(), (0, 1)), None),
    "hessian": (lambda x, w: jax.hessian(lambda w: (conv(x[:1, :, :2, :2], w[:, :, :1, :1]) ** 2).sum())(w), None),
    "accelerate": (jaxconv.accelerate(conv), 0),
    "accelerate in jit": (closed_over, 0),
}


@pytest.fixture(scope="module")
def operands():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((2, 4, 5, 6))), jnp.asarray(rng.standard_normal((4, 2, 3, 3)))


@pytest.mark.parametrize("f, expected_count", PLACES.values(), ids=PLACES)
def test_none_is_left_behind(f, expected_count, operands):
    before, ours_before = convolutions(f, *operands)
    assert before == expected_count or expected_count is None
    g = jaxconv.accelerate(f, algorithm="im2col")
    assert convolutions(g, *operands) == (0, before + ours_before)
    got, expected = jax.jit(g)(*operands), f(*operands)
    jax.tree.map(lambda got, expected: np.testing.assert_allclose(got, expected, 1e-9, 1e-9), got, expected)
    assert jax.tree.map(jax.typeof, got) == jax.tree.map(jax.typeof, expected)
    if not ours_before:  # those were asked for without a name, and run as lax's
        assert "stablehlo.convolution" not in jax.jit(g).lower(*operands).as_text()


@pytest.mark.parametrize("place", ["plain", "jit", "checkpoint", "scan", "switch", "vmap", "shard_map"])
def test_derivatives_of_the_accelerated_are_accelerated(place, operands):
    f = jaxconv.accelerate(PLACES[place][0])
    total = jax.grad(lambda x, w: sum(out.sum() for out in jax.tree.leaves(f(x, w))), (0, 1))
    left, ours = convolutions(total, *operands)
    assert left == 0 and ours > 0


@pytest.mark.parametrize("f", [own_jvp, own_vjp])
def test_custom_derivatives_are_kept(f, operands):
    """Inside them a derivative made later is lax's own, but it is the derivative that its author wrote."""
    inside = jax.grad(lambda x, w: jaxconv.accelerate(f)(x, w).sum(), (0, 1))
    outside = jaxconv.accelerate(jax.grad(lambda x, w: f(x, w).sum(), (0, 1)))
    expected = jax.grad(lambda x, w: conv(x, w).sum(), (0, 1))(*operands)
    for gradients in (inside(*operands), outside(*operands)):
        for got, want in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(got, want, 1e-9)
    assert convolutions(inside, *operands)[0] > 0 and convolutions(outside, *operands)[0] == 0


@pytest.mark.parametrize("name", ["dots_saveable", "nothing_saveable", "everything_saveable"])
def test_a_policy_of_checkpoint_is_asked_of_lax_s_convolution(name, operands):
    """`dots_saveable` saves what it knows by its primitive."""

    def total(x, w):
        return jnp.sin(conv(jnp.sin(conv(x, w)), w)).sum()

    policy = getattr(jax.checkpoint_policies, name)
    plain = jax.grad(jax.checkpoint(total, policy=policy), (0, 1))
    inside = jax.grad(jaxconv.accelerate(jax.checkpoint(total, policy=policy)), (0, 1))
    count, _ = convolutions(plain, *operands)
    for accelerated in (inside, jaxconv.accelerate(plain)):
        assert convolutions(accelerated, *operands) == (0, count)


Pair = namedtuple("Pair", "first second")


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    w: jax.Array


def test_arguments_of_every_kind(operands):
    x, w = operands
    seen = []

    def f(x, layers, *, how, times, scale=1, note=None):
        seen.append((type(times), how, note))
        for _ in range(times):
            x = conv(x, layers["a"].first.w) if how == "conv" else x
        return {"out": Pair(scale * x, times), "note": note, "none": None}

    layers = {"a": Pair(Layer(w), None)}
    assert jaxconv.accelerate(lambda x, n: conv(x.reshape(int(n), 4, 5, 6), w))(x, np.int64(2)).shape == x.shape
    got = jaxconv.accelerate(f)(np.asarray(x), layers, how="conv", times=2, note=f)
    expected = f(x, layers, how="conv", times=2, note=f)
    np.testing.assert_allclose(got["out"].first, expected["out"].first, 1e-12)
    assert got["out"].second == 2 and got["note"] is f and got["none"] is None
    assert seen[0] == seen[1] == (int, "conv", f)


def test_results_that_are_constants_are_arrays(operands):
    def f(x, w):
        rate = jnp.asarray(0.1)  # of weak type
        return conv(x, w), {"rate": rate, "sizes": jnp.arange(3), "one": jnp.int32(1), "yes": jnp.asarray(True)}

    got, expected = jaxconv.accelerate(f)(*operands), f(*operands)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(got))
    assert jax.tree.map(jax.typeof, got) == jax.tree.map(jax.typeof, expected)


def test_results_of_numpy_stay_as_they_are(operands):
    sizes = np.arange(3.0)
    got = jaxconv.accelerate(lambda x, w: (conv(x, w), sizes))(*operands)
    assert got[1] is sizes


def test_static_arguments_under_jit(operands):
    step = jax.jit(jaxconv.accelerate(lambda x, w, times: conv(x, w) * times), static_argnums=2)
    np.testing.assert_allclose(step(*operands, 3), 3 * conv(*operands), 1e-12)
    assert convolutions(lambda x, w: step(x, w, 3), *operands) == (0, 1)


def test_arrays_of_records_are_passed_as_they_are(operands):
    x, _ = operands
    records = np.zeros(2, [("row", "f4"), ("column", "i4")])
    assert jaxconv.accelerate(lambda x, which: (x, which))(x, records)[1] is records


def test_functions_without_convolutions_are_untouched():
    key = jax.random.key(0)
    f = jaxconv.accelerate(lambda key, x: (jax.random.normal(key, (3,)) + x, jax.random.split(key)))
    np.testing.assert_array_equal(f(key, 1.5)[0], jax.random.normal(key, (3,)) + 1.5)
    assert jaxconv.accelerate(lambda: 3)() == 3


def test_side_effects_happen_once(capfd):
    def f(x):
        jax.debug.print("sum {}", jnp.round(x.sum()))
        return x

    jaxconv.accelerate(f)(jnp.ones(3))
    jax.effects_barrier()
    assert capfd.readouterr().out == "sum 3.0\n"


def test_collectives_under_vmap(operands):
    x, w = operands
    f = jaxconv.accelerate(lambda x, w: lax.pmean(conv(x, w), "batch"))
    got = jax.vmap(f, (0, None), axis_name="batch")(jnp.stack([x, 2 * x]), w)
    np.testing.assert_allclose(got[0], 1.5 * conv(x, w), 1e-9)


def test_called_again_nothing_is_compiled_again(operands, caplog):
    f = jaxconv.accelerate(jax.jit(lambda x, w: conv(jnp.tanh(conv(x, w)), w)))
    with jax.log_compiles():
        f(*operands)
        assert any("Compiling" in message for message in caplog.messages)
        caplog.clear()
        f(*operands)
        assert not any("Compiling" in message for message in caplog.messages)


def test_keeps_its_name_and_documentation():
    assert jaxconv.accelerate(branch).__name__ == "branch"
    assert jaxconv.accelerate(loop).__wrapped__ is loop  # pyright: ignore[reportFunctionMemberAccess] (functools.wraps)


def test_unknown_algorithm():
    with pytest.raises(ValueError, match="algorithm must be None or one of 'naive', .*'xla', got 'magic'"):
        jaxconv.accelerate(conv, algorithm="magic")
