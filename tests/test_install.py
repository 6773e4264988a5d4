"""Once installed, every lax convolution is what `accelerate` makes of it; after `uninstall` it is lax's again."""

import os
import re
import threading
from collections import Counter
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.datasets import load_digits
from test_accelerate import PLACES
from test_algorithms import example, judged
from test_transformations import TRANSFORMED, theirs

import jaxconv
from jaxconv import ALGORITHMS
from jaxconv._machine import conditions
from jaxconv._parameters import from_params, geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned


@pytest.fixture(autouse=True)
def clean():
    yield
    jaxconv.uninstall()


@contextmanager
def installed(**arguments):
    jaxconv.install(**arguments)
    try:
        yield
    finally:
        jaxconv.uninstall()


@pytest.fixture
def ran(monkeypatch):
    """The algorithms in the order in which convolutions were lowered by them; "xla" is lax's own and not among them."""
    names = []
    for name, algorithm in ALGORITHMS.items():

        def convolve(*operands, name=name, algorithm=algorithm):
            names.append(name)
            return algorithm.convolve(*operands)

        monkeypatch.setitem(ALGORITHMS, name, algorithm._replace(convolve=convolve))
    return names


@pytest.fixture
def sevens(monkeypatch):
    """The algorithm "im2col" gives nothing but sevens, so that results tell what computed them."""

    def convolve(lhs, rhs, geometry, *bound):
        return jnp.full(geometry.out_layout.shape, 7, geometry.out_dtype)

    monkeypatch.setitem(ALGORITHMS, "im2col", ALGORITHMS["im2col"]._replace(convolve=convolve))


def random(shape, seed, dtype="float32"):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


LHS, RHS = random((2, 4, 5, 6), 0), random((4, 2, 3, 3), 1)


def conv(lhs, rhs):
    return lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME", feature_group_count=2)


def ours(algorithm):
    def convolve(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", feature_group_count=2, algorithm=algorithm)

    return convolve


def planned(algorithm, dtype="float32"):
    """A plan for `conv`."""
    geometry = geometry_of(LHS.astype(dtype), RHS.astype(dtype), (1, 1), "SAME", feature_group_count=2)
    return Plan(conditions(), {geometry: Tuned(algorithm, {}, {})})


def step(lhs, rhs):
    """The value and both gradients."""
    return jax.value_and_grad(lambda lhs, rhs: (conv(lhs, rhs) ** 2).sum(), (0, 1))(lhs, rhs)


def program(f, *args):
    """What the compiler makes of it, places in the source apart and names numbered."""
    text, numbers = jax.jit(f).lower(*args).compile().as_text() or "", {}
    lines = [line.split(", metadata=")[0] for line in text.splitlines() if " = " in line]
    return [re.sub(r"%[\w.-]+", lambda name: f"%{numbers.setdefault(name[0], len(numbers))}", line) for line in lines]


def is_lax(f, *args):
    """Whether a convolution of the compiler's is in it."""
    return "stablehlo.convolution" in jax.jit(f).lower(*args).as_text()


def assert_same(got, expected, tolerance=1e-9):
    def same(got, expected):
        assert jax.typeof(got) == jax.typeof(expected)  # shape, dtype, weak type, sharding
        loose = 0.02 if got.dtype == "bfloat16" else tolerance
        got, expected = (np.asarray(x.astype("complex128" if x.dtype.kind == "c" else float)) for x in (got, expected))
        np.testing.assert_allclose(got, expected, loose, loose)

    jax.tree.map(same, got, expected)


# What it computes.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_program_as_accelerate(algorithm, ran):
    """Also where an algorithm ends in convolutions of lax, which must not be chosen for a second time."""
    problem = example(algorithm)
    operands = problem.operands()

    def both(lhs, rhs):
        out, pullback = jax.vjp(problem.lax, lhs, rhs)
        return out, pullback(jnp.cos(out))

    expected, plain = program(jaxconv.accelerate(both, algorithm=algorithm), *operands), jax.jit(both)(*operands)
    by_accelerate = ran[:]
    ran.clear()
    jaxconv.install(algorithm=algorithm)
    assert program(both, *operands) == expected
    assert ran == by_accelerate and (algorithm in ran or algorithm == "xla")
    out, gradients = jax.jit(both)(*operands)
    assert not judged(problem, algorithm, out, *operands)
    assert_same(gradients, plain[1], 1e-4)


# What is told apart by more than the places below.
MORE = (
    "jvp",
    "vmap of batch groups",
    "vmap, none of them",
    "grad of vmap",
    "explicitly sharded",
    "explicitly sharded gradients",
    "gradients of a wider result",
    "integers to float",
)


@pytest.fixture(scope="module")
def transformed():
    """name -> what lax gives, and what it gives while installed. One change for all: each makes JAX compile anew."""
    expected = {name: TRANSFORMED[name](theirs) for name in MORE}
    with installed(algorithm="im2col"):
        got = {name: TRANSFORMED[name](theirs) for name in MORE}
    return {name: (got[name], expected[name]) for name in MORE}


@pytest.mark.parametrize("name", MORE)
def test_the_same_values_types_and_shardings(name, transformed):
    assert_same(*transformed[name])


SUB_PROGRAMS = (
    "while",
    "switch",
    "vmap",
    "shard_map",
    "custom_batching",
    "grad of custom_vjp",
    "grad of custom_jvp",
    "grad of checkpoint",
    "grad of scan",
)


@pytest.fixture(scope="module")
def places():
    """name -> whether lax's convolution is left in the program, which gives what, and should give what."""
    operands = LHS.astype("float64"), RHS.astype("float64")

    def look(f):
        lowered = jax.jit(f).lower(*operands)
        return "stablehlo.convolution" in lowered.as_text(), lowered.compile()(*operands)

    expected = {name: look(PLACES[name][0]) for name in SUB_PROGRAMS}
    with installed(algorithm="im2col"):
        got = {name: look(PLACES[name][0]) for name in SUB_PROGRAMS}
    return {name: (got[name], expected[name]) for name in SUB_PROGRAMS}


@pytest.mark.parametrize("place", SUB_PROGRAMS)
def test_none_is_left_behind(place, places):
    """Gradients that a custom derivative makes by itself are found as well, wherever they are made."""
    (left, got), (was_there, expected) = places[place]
    assert was_there and not left
    assert_same(got, expected)


def test_eagerly(ran):
    jaxconv.install(algorithm="im2col")
    expected = jaxconv.conv_general_dilated(LHS, RHS, (1, 1), "SAME", feature_group_count=2, algorithm="naive")
    ran.clear()
    assert_same(conv(LHS, RHS), expected, 1e-5)
    assert ran == ["im2col"]
    with jax.disable_jit():
        assert_same(conv(LHS[:1], RHS), expected[:1], 1e-5)
    assert ran == ["im2col"] * 2


def test_complex_ones(ran):
    """Lax makes three real convolutions of one on the CPU, after the choice; those are not chosen for."""
    operands = LHS.astype("complex64"), RHS.astype("complex64")
    expected = program(conv, *operands)
    jaxconv.install()
    with Plan(conditions(), {**planned("im2col").convolutions, **planned("xla", "complex64").convolutions}):
        assert program(conv, *operands) == expected and not ran
        assert not is_lax(conv, LHS, RHS) and ran == ["im2col"]
    with planned("im2col", "complex64"):
        assert not is_lax(conv, *operands) and ran == ["im2col"] * 2


def test_equal_convolutions_inside_and_outside_of_an_algorithm(ran):
    """A volume as a sum of images, and the same convolution of images by itself, which takes another algorithm."""
    volume, taps = random((1, 2, 4, 6, 6), 2), random((3, 2, 2, 3, 3), 3)

    def volumes(lhs, rhs):
        return lax.conv(lhs, rhs, (1, 1, 1), "SAME")

    whole = geometry_of(volume, taps, (1, 1, 1), "SAME")
    inside = jax.make_jaxpr(lambda lhs, rhs: ALGORITHMS["slabs"].convolve(lhs, rhs, whole))(volume, taps)
    equation = next(eqn for eqn in inside.eqns if eqn.primitive.name == "conv_general_dilated")
    shapes = [random(var.aval.shape, 4) for var in equation.invars]

    def images(lhs, rhs):
        return equation.primitive.bind(lhs, rhs, **equation.params)

    part = from_params(shapes[0], shapes[1], equation.params)
    plan = Plan(conditions(), {whole: Tuned("slabs", {}, {}), part: Tuned("im2col", {}, {})})
    operands = (volume, taps, *shapes)
    for f in (
        lambda lhs, rhs, image, kernel: (volumes(lhs, rhs), images(image, kernel)),
        lambda lhs, rhs, image, kernel: (images(image, kernel), volumes(lhs, rhs)),
    ):
        with plan:
            jaxconv.uninstall()
            expected = program(jaxconv.accelerate(f), *operands)
            ran.clear()
            jaxconv.install()
            assert program(f, *operands) == expected
            assert sorted(ran) == ["im2col", "slabs"]


# What stays as it was.


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_those_with_an_algorithm_of_their_own(dtype, ran):
    operands = LHS.astype(dtype), RHS.astype(dtype)
    names = ("xla", "packing", "kn2row")
    before = {name: program(ours(name), *operands) for name in names}
    lax_before = program(conv, *operands)
    expected = conv(*operands)
    jaxconv.install(algorithm="im2col")
    assert not is_lax(conv, *operands)
    ran.clear()
    assert {name: program(ours(name), *operands) for name in names} == before and "im2col" not in ran
    assert program(jaxconv.accelerate(conv, algorithm="xla"), *operands) == before["xla"] == lax_before
    with jax.disable_jit():
        np.testing.assert_array_equal(ours("xla")(*operands), expected)
    assert "im2col" not in ran


def test_what_was_compiled_or_exported_before(sevens):
    compiled, exported = jax.jit(conv).lower(LHS, RHS).compile(), jax.export.export(jax.jit(conv))(LHS, RHS)
    expected = compiled(LHS, RHS)
    jaxconv.install(algorithm="im2col")
    np.testing.assert_array_equal(compiled(LHS, RHS), expected)
    np.testing.assert_array_equal(exported.call(LHS, RHS), expected)
    exported = jax.export.export(jax.jit(conv))(LHS, RHS)
    jaxconv.uninstall()
    assert (exported.call(LHS, RHS) == 7).all()


# Before, while and after.


def test_what_was_jitted_is_compiled_anew(sevens):
    inner = jax.jit(conv)
    functions = inner, conv, jax.jit(lambda lhs, rhs: inner(lhs, rhs) + 0), jax.vmap(inner, (0, None))

    def is_seven():
        values = [f(LHS[:, None] if f is functions[-1] else LHS, RHS) for f in functions]
        assert len({bool((value == 7).all()) for value in values}) == 1
        return bool((values[0] == 7).all())

    seen = [is_seven()]
    for change in (lambda: jaxconv.install(algorithm="im2col"), jaxconv.uninstall) * 2:
        change()
        seen.append(is_seven())
    assert seen == [False, True, False, True, False]
    np.testing.assert_array_equal(inner(LHS, RHS), jax.jit(lambda *operands: conv(*operands))(LHS, RHS))


def test_again_and_otherwise(ran):
    traced = []

    @jax.jit
    def f(lhs, rhs):
        traced.append(True)
        return conv(lhs, rhs)

    jaxconv.uninstall()  # without install
    for algorithm, count in (("im2col", 1), ("im2col", 1), ("kn2row", 2)):
        jaxconv.install(algorithm=algorithm)
        f(LHS, RHS)
        assert len(traced) == count and ran[-1] == algorithm
    jaxconv.install()
    f(LHS, RHS)
    [row] = jaxconv.explain(f, LHS, RHS).rows
    assert ran[2:] == [row.algorithm] * (row.algorithm != "xla")
    jaxconv.uninstall()
    jaxconv.uninstall()
    assert is_lax(f, LHS, RHS)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"algorithm": "magic"}, "algorithm must be None or one of 'naive', .*'xla', got 'magic'"),
        ({"accuracy": "exact"}, "accuracy must be one of 'strict', 'default', 'fast', got 'exact'"),
        ({"max_workspace_bytes": -1}, "max_workspace_bytes must be an integer of 0 or more, got -1"),
    ],
)
def test_what_is_neither_raises_and_changes_nothing(wrong: dict[str, Any], message, sevens):
    for before in (False, True):
        if before:
            jaxconv.install(algorithm="im2col")
        with pytest.raises(ValueError, match=message):
            jaxconv.install(**wrong)
        assert (conv(LHS, RHS) == 7).all() == before


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_arguments_of_lax_raise_as_within_accelerate():
    jaxconv.install()
    with pytest.raises(ValueError, match=r"conv_general_dilated window_strides must be positive, got \(0, 1\)"):
        jax.jit(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, (0, 1), "VALID"))(LHS, random((4, 4, 3, 3), 0))


# What it goes by.


@pytest.mark.parametrize(
    "more, taken", [({}, True), ({"accuracy": "strict"}, False), ({"max_workspace_bytes": 9}, False)]
)
def test_accuracy_and_memory(more: dict[str, Any], taken, ran):
    jaxconv.install(**more)
    with planned("winograd2"):
        conv(LHS, RHS)
    assert ("winograd2" in ran) == taken


def test_plans_and_policies_of_the_place_where_it_is_compiled(sevens):
    jaxconv.install()
    jitted, plan = jax.jit(conv), planned("im2col")

    def is_seven(f):
        return bool((f(LHS, RHS) == 7).all())

    for f in (
        conv,
        jitted,
        lambda *operands: jax.jit(lambda *operands: conv(*operands)).lower(*operands).compile()(*operands),
    ):
        with planned("kn2row"):
            for _ in range(2):
                assert not is_seven(f)
                with plan:
                    assert is_seven(f)
                    with jaxconv.policy(max_workspace_bytes=9):
                        assert not is_seven(f)
    with plan:
        traced = jitted.trace(LHS, RHS)
    with planned("kn2row"):
        assert not is_seven(traced.lower().compile())
    with plan:
        assert is_seven(jitted.trace(LHS, RHS).lower().compile())


def test_explain_says_what_runs(ran):
    def dense(lhs, rhs):
        return jax.grad(lambda lhs, rhs: (lax.conv(lhs, rhs, (1, 1), "SAME") ** 2).sum(), (0, 1))(lhs, rhs)

    jaxconv.install(algorithm="strips")  # which takes the weight gradient alone
    rows = jaxconv.explain(dense, LHS[:, :2], RHS).rows
    jax.jit(dense).lower(LHS[:, :2], RHS)
    assert ran == ["strips"] == [row.algorithm for row in rows if row.algorithm != "xla"]
    assert [row.why for row in rows if row.algorithm == "strips"] == ["asked for"]
    jaxconv.install(accuracy="strict", max_workspace_bytes=9)
    [row] = jaxconv.explain(conv, LHS, RHS).rows
    assert "'strict'" in row.rejected["winograd2"] and "may take 9" in row.rejected["im2col"]
    [row] = jaxconv.explain(conv, LHS, RHS, accuracy="default").rows
    assert "may take 9" in row.rejected["winograd2"]
    jaxconv.uninstall()
    [row] = jaxconv.explain(conv, LHS, RHS).rows
    assert "may take" not in " ".join(row.rejected.values())


def test_autotune_times_each_as_it_is(ran):
    """Lax's own among them, which is not what was installed."""
    jaxconv.install(algorithm="im2col")
    plan = jaxconv.autotune(conv, LHS, RHS, progress=False)
    [tuned] = plan.convolutions.values()
    assert "xla" in tuned.seconds and Counter(ran) == Counter(set(tuned.seconds) - {"xla"})
    ran.clear()
    jaxconv.install()
    with plan:
        conv(LHS, RHS)
    assert ran == [tuned.algorithm] * (tuned.algorithm != "xla")


# Devices.


def test_shared_out_by_the_compiler(ran):
    shared = NamedSharding(jax.make_mesh((4,), ("a",), axis_types=(AxisType.Auto,)), P("a"))
    operands = jax.device_put(random((4, 4, 5, 6), 0), shared), RHS
    expected = program(jaxconv.accelerate(step, algorithm="im2col"), *operands)
    values = jax.jit(step)(*map(np.asarray, operands))
    jaxconv.install(algorithm="im2col")
    assert program(step, *operands) == expected
    for got, want in zip(jax.tree.leaves(jax.jit(step)(*operands)), jax.tree.leaves(values), strict=True):
        np.testing.assert_allclose(got, want, 1e-4, 1e-4)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "complex64"])
@pytest.mark.parametrize("algorithm", [None, "im2col"])
def test_on_every_platform_as_within_accelerate(platform, dtype, algorithm):
    operands = LHS.astype(dtype), RHS.astype(dtype)

    def count(f):
        text = jax.jit(f).trace(*operands).lower(lowering_platforms=(platform,)).as_text()
        return text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")

    expected = count(jaxconv.accelerate(conv, algorithm=algorithm))
    jaxconv.install(algorithm=algorithm)
    assert count(conv) == expected
    assert algorithm is None or expected[0] == 0


def test_exported_for_several_platforms():
    """On each what would be taken there by itself; and lax's own on all of them where that is asked for."""
    platforms = ("cpu", "cuda", "tpu")

    def convolutions(f, operands):
        exported = jax.export.export(jax.jit(f), platforms=platforms)(*operands)
        return exported, exported.mlir_module().count("stablehlo.convolution")

    jaxconv.install(algorithm="im2col")
    exported, count = convolutions(conv, (LHS, RHS))
    assert count == 0
    for own in (jaxconv.accelerate(conv, algorithm="xla"), ours("xla")):
        lax_exported, count = convolutions(own, (LHS, RHS))
        assert count == len(platforms)
        assert_same(lax_exported.call(LHS, RHS), exported.call(LHS, RHS), 1e-5)
    batch = jax.export.symbolic_shape("b")[0]
    symbolic = jax.ShapeDtypeStruct((batch, *LHS.shape[1:]), LHS.dtype)
    exported, count = convolutions(conv, (symbolic, RHS))  # im2col takes constant shapes only
    assert count > 0
    jaxconv.uninstall()
    assert_same(exported.call(LHS, RHS), conv(LHS, RHS), 1e-5)


# Threads.


def test_all_threads_at_once(sevens):
    """Those that run already, too, and those within a policy of their own."""
    f, steps, seen = jax.jit(conv), threading.Barrier(3, timeout=600), {}

    def work(name, policy):
        with policy:
            for _ in range(3):
                steps.wait()
                seen.setdefault(name, []).append(bool((f(LHS, RHS) == 7).all() and (conv(LHS, RHS) == 7).all()))
                steps.wait()

    policies = {"plain": jaxconv.policy(), "strict": jaxconv.policy(accuracy="strict")}
    threads = [threading.Thread(target=work, args=item) for item in policies.items()]
    for thread in threads:
        thread.start()
    for change in (lambda: None, lambda: jaxconv.install(algorithm="im2col"), jaxconv.uninstall):
        change()
        steps.wait()
        steps.wait()
    for thread in threads:
        thread.join()
    assert seen == {name: [False, True, False] for name in policies}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("where", ["tracing", "lowering"])
def test_what_another_thread_is_compiling_meanwhile_is_forgotten(where, before, sevens, monkeypatch):
    """It may have come out either way. Whoever calls after the change gets what holds then, and after the next, too."""
    waiting, go = threading.Event(), threading.Event()
    names = ("im2col", "kn2row")

    def pause():
        if threading.current_thread() is thread:
            waiting.set()
            assert go.wait(600)

    for name in names:
        inner = ALGORITHMS[name].convolve

        def convolve(*operands, inner=inner):
            if where == "lowering":
                pause()
            return inner(*operands)

        monkeypatch.setitem(ALGORITHMS, name, ALGORITHMS[name]._replace(convolve=convolve))

    @jax.jit
    def f(lhs, rhs):
        if where == "tracing":
            pause()
        return conv(lhs, rhs), ours("kn2row")(lhs, rhs)  # the second to wait at while nothing is installed

    def is_seven():
        return bool((f(LHS, RHS)[0] == 7).all())

    changes = [jaxconv.uninstall, lambda: jaxconv.install(algorithm="im2col")]
    if before:
        changes[1]()
    thread = threading.Thread(target=f, args=(LHS, RHS))
    thread.start()
    assert waiting.wait(600)
    for now in (not before, before, not before):
        changes[now]()
        if not go.is_set():
            go.set()
            thread.join()
        assert is_seven() == now


def test_changed_by_many_threads_at_once():
    """Whatever the order, values are right, and what is there in the end is what the last change said."""
    expected, wrong = conv(LHS, RHS), []

    def work(turn):
        for i in range(3):
            if (turn + i) % 3:
                jaxconv.install(algorithm=("im2col", "kn2row")[turn % 2])
            else:
                jaxconv.uninstall()
            if not np.allclose(conv(LHS, RHS), expected, 1e-4, 1e-4):
                wrong.append((turn, i))

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    jaxconv.install(algorithm="im2col")
    assert not is_lax(conv, LHS, RHS)
    jaxconv.uninstall()
    assert is_lax(conv, LHS, RHS)


# Code that cannot be wrapped.


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
