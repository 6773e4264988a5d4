"""What sharing a convolution out costs, the three ways to ask for it, and what is said where it cannot be had."""

import re
import warnings
from math import prod
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv
from jaxconv import _primitive
from jaxconv._bench.collectives import traffic
from jaxconv._collect import convolutions
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of, to_params
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned
from jaxconv._sharding import factors, shard
from jaxconv.testing import Problem

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


PERMUTES, REDUCE, NONE = {"collective-permute": 2}, {"all-reduce": 1}, {}
BOTH = {"collective-permute": 2, "all-reduce": 1}
IMAGE, KERNEL = (8, 16, 16, 4), (3, 3, 4, 8)
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


def test_explicit_axes():
    """Types say how results and gradients are sharded; lax's own errors where that is ambiguous."""
    explicit = mesh(AxisType.Explicit)
    lhs, rhs = random(IMAGE), random(KERNEL, 1)
    with jax.set_mesh(explicit):

        def conv(lhs, rhs):
            return jaxconv.conv_general_dilated(lhs, rhs, **SAME, out_sharding=P("x", "y"))

        def f(lhs, rhs):
            return jnp.sin(conv(lhs, rhs)).sum()

        def g(lhs, rhs):
            return jnp.sin(lax.conv_general_dilated(lhs, rhs, **SAME)).sum()

        lhs_put, rhs_put = jax.device_put(lhs, P("x", "y")), jax.device_put(rhs, P())
        got = jax.jit(jax.grad(f, (0, 1)))(lhs_put, rhs_put)
        assert [jax.typeof(x).sharding.spec for x in got] == [P("x", "y", None, None), P(None, None, None, None)]
        assert collectives(conv, lhs_put, rhs_put) == PERMUTES
        # Types say it all: XLA need not ask, and so programs may be exported and compiled for TPUs.
        assert "CustomSPMDPartitioning" not in jax.jit(conv).lower(lhs_put, rhs_put).as_text()
        with pytest.raises(Exception, match="out_sharding") as ours:
            jaxconv.conv_general_dilated(lhs_put, jax.device_put(rhs, P(None, None, None, "x")), **SAME)
        with pytest.raises(type(ours.value)) as theirs:
            lax.conv_general_dilated(lhs_put, jax.device_put(rhs, P(None, None, None, "x")), **SAME)
        assert str(ours.value) == str(theirs.value)
    for one, other in zip(got, jax.grad(g, (0, 1))(lhs, rhs), strict=True):
        np.testing.assert_allclose(one, other, 1e-12, 1e-12)


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


def test_without_a_cpu_in_jax_platforms(monkeypatch):
    """The compiler shares it out all the same: of JAX_PLATFORMS=cuda, JAX knows no other devices."""
    devices = jax.devices

    def without_cpu(platform=None):
        if platform == "cpu":
            raise RuntimeError("Unknown backend cpu. Available backends are ['cuda']")
        return devices()

    lhs, rhs = put(random(IMAGE), "x", "y"), put(random(KERNEL))
    monkeypatch.setattr(jax, "devices", without_cpu)
    assert collectives(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME), lhs, rhs) == PERMUTES


def test_a_spatial_axis_needs_a_mesh():
    with pytest.raises(NameError, match="rows"):
        jaxconv.conv_general_dilated(random(IMAGE), random(KERNEL), **SAME, spatial_axis_name=("rows", None))


@pytest.mark.parametrize("boundary", ["zeros", "circular"])
@pytest.mark.parametrize("names", [("y",), ("x", "y"), ("y", "x")], ids=str)
@pytest.mark.parametrize(("low", "high"), [(1, 2), (0, 0), (5, 0), (3, 19)])
def test_halo_exchange(boundary, names, low, high):
    """Each shard is the slice of the extended whole; its derivative adds up what the copies got."""
    whole, shards = random((16, 2)), 4 if len(names) == 1 else 8
    own = 16 // shards
    extended = np.pad(whole, ((low, high), (0, 0)), "wrap" if boundary == "circular" else "constant")
    expected = np.concatenate([extended[j * own : (j + 1) * own + low + high] for j in range(shards)])

    def exchange(x):
        return jaxconv.halo_exchange(x, names, axis=-2, low=low, high=high, boundary=boundary)

    exchanged = jax.shard_map(exchange, mesh=mesh(), in_specs=P(names), out_specs=P(names))
    np.testing.assert_array_equal(jax.jit(exchanged)(whole), expected)
    weights = random(expected.shape, 1)
    got = jax.jit(jax.grad(lambda x: (weights * exchanged(x)).sum()))(whole)
    copies = np.zeros(extended.shape)
    for j in range(shards):
        copies[j * own : (j + 1) * own + low + high] += weights[j * (own + low + high) : (j + 1) * (own + low + high)]
    totals = np.zeros(whole.shape)
    for row, of in enumerate(copies):
        if boundary == "circular" or 0 <= row - low < 16:
            totals[(row - low) % 16] += of
    np.testing.assert_allclose(got, totals, 1e-12, 1e-12)


@pytest.mark.parametrize("dtype", ["bool", "int8", "bfloat16", "complex64", "float8_e4m3fn"])
def test_halos_of_every_type(dtype):
    whole = (4 * random((8, 3))).astype(dtype)
    exchange = jax.shard_map(
        lambda x: jaxconv.halo_exchange(x, "y", axis=0, low=1, high=0), mesh=mesh(), in_specs=P("y"), out_specs=P("y")
    )
    got = jax.jit(exchange)(whole)
    assert got.dtype == whole.dtype
    expected = np.insert(np.asarray(whole.astype("complex64")), [0, 2, 4, 6], 0, axis=0)
    expected[[3, 6, 9]] = np.asarray(whole.astype("complex64"))[[1, 3, 5]]
    np.testing.assert_array_equal(got.astype("complex64"), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": 2}, "halo_exchange axis must be one of the 2 axes of x, got 2"),
        ({"low": -1}, "halo_exchange low must be 0 or more, got -1"),
        ({"high": -2}, "halo_exchange high must be 0 or more, got -2"),
        ({"boundary": "wrap"}, "halo_exchange boundary must be 'zeros' or 'circular', got 'wrap'"),
    ],
)
def test_errors_of_halo_exchange(arguments, message):
    arguments = {"axis": 0, "low": 1, "high": 1, **arguments}
    exchange = jax.shard_map(
        lambda x: jaxconv.halo_exchange(x, "y", **arguments), mesh=mesh(), in_specs=P("y"), out_specs=P("y")
    )
    with pytest.raises(ValueError, match=message):
        exchange(random((8, 2)))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "float16", "bfloat16", "float32", "complex64"])
def test_parts_of_sums_of_every_type(dtype):
    """Integers wrap as ever; half types are rounded once."""
    problem = Problem((2, 6, 6, 8), (3, 3, 8, 4), (1, 1), "SAME", dimension_numbers=NHWC, dtype=dtype)
    lhs, rhs = problem.operands() if dtype != "bool" else (random((2, 6, 6, 8)) > 1, random((3, 3, 8, 4), 1) > 1)
    got = jax.jit(lambda *operands: jaxconv.conv_general_dilated(*operands, **problem.arguments))(
        put(lhs, None, None, None, "y"), put(rhs, None, None, "y")
    )
    if dtype == "bool":
        assert got.dtype == "bool"
        np.testing.assert_array_equal(got, problem.lax(lhs, rhs))
    else:
        assert not problem.violation(got, lhs, rhs)


@pytest.mark.parametrize(("accuracy", "dtype"), [("default", "f32"), ("fast", "bf16")])
def test_the_type_that_parts_of_sums_are_sent_in(accuracy, dtype):
    with jax.set_mesh(mesh(AxisType.Explicit)), jaxconv.policy(accuracy=accuracy):
        lhs = jax.device_put(random(IMAGE, 0, "bfloat16"), P(None, None, None, "y"))
        rhs = jax.device_put(random(KERNEL, 1, "bfloat16"), P(None, None, "y"))
        f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, out_sharding=P()))
        reduced = re.findall(r"stablehlo.all_reduce.*?-> tensor<[\dx]*x(\w+)>", f.lower(lhs, rhs).as_text(), re.DOTALL)
        assert reduced == [dtype]
        assert f(lhs, rhs).dtype == "bfloat16"


def test_the_algorithm_is_chosen_for_the_shard(monkeypatch):
    asked = []
    choose = _primitive.choose
    monkeypatch.setattr(_primitive, "choose", lambda *args: asked.append(args[1]) or choose(*args))
    lhs, rhs = put(random((8, 16, 12, 4), dtype="float32"), "x", "y"), random(KERNEL, 1, "float32")
    jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME)).lower(lhs, rhs).compile()
    assert [(geometry.batch, geometry.spatial, geometry.padding[0]) for geometry in asked] == [(4, (6, 12), (0, 0))]


@pytest.mark.parametrize("algorithm", ["im2col", "kn2row", "winograd2", "fft"])
def test_the_algorithm_asked_for_computes_the_shards(algorithm):
    lhs, rhs = put(random((8, 16, 12, 4)), "x", "y"), random((3, 3, 4, 8), 1)
    f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, algorithm=algorithm))
    text = str(f.lower(lhs, rhs).compile().as_text())
    assert " convolution(" not in text and "all-gather" not in text
    expected = lax.conv_general_dilated(lhs, rhs, **SAME)
    np.testing.assert_allclose(f(lhs, rhs), expected, 1e-11, 1e-11)


def test_programs_of_different_choices_differ():
    """XLA's cache on disk knows them by their text."""
    lhs, rhs = put(random(IMAGE), "x"), random(KERNEL, 1)

    def text(algorithm):
        f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, algorithm=algorithm))
        lines = f.lower(lhs, rhs).as_text().splitlines()
        return [re.sub(r'backend_config = "\d+"', "", line) for line in lines]

    assert text("im2col") == text("im2col") != text("kn2row")


def test_what_cannot_be_shared_out_is_gathered_and_said_once():
    shard._warn.cache_clear()
    lhs, rhs = put(random((8, 6, 6, 12)), None, None, None, "y"), random((3, 3, 2, 12), 1)

    def f(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, **SAME, feature_group_count=6)

    with pytest.warns(RuntimeWarning, match="6 groups x 2 input channels over 4 devices"):
        got = jax.jit(f)(lhs, rhs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.jit(lambda lhs, rhs: 2 * f(lhs, rhs))(lhs, rhs)
    np.testing.assert_allclose(got, lax.conv_general_dilated(lhs, rhs, **SAME, feature_group_count=6), 1e-12, 1e-12)


# name: shape of the image, of the kernel, and arguments. The shards of each are several times the bound.
LARGE = {
    "5x5": ((2, 2048, 1024, 16), (5, 5, 16, 16), {}),
    "stride": ((2, 2048, 1024, 16), (3, 3, 16, 16), {"window_strides": (2, 2)}),
    "dilation": ((2, 2048, 1024, 16), (3, 3, 16, 16), {"rhs_dilation": (4, 2)}),
    "transposed": ((2, 2048, 1024, 16), (4, 4, 16, 16), {"lhs_dilation": (2, 2), "padding": ((2, 2), (2, 2))}),
    "volume": ((2, 256, 128, 64, 16), (3, 3, 3, 16, 16), {"dimension_numbers": ("NDHWC", "DHWIO", "NDHWC")}),
    "windows that drift": ((2, 2048, 1024, 16), (5, 5, 16, 16), {"padding": "VALID"}),
    "stride and drift": ((2, 2048, 1024, 16), (3, 3, 16, 16), {"window_strides": (2, 2), "padding": "VALID"}),
    "phases": ((2, 1024, 512, 16), (3, 3, 16, 16), {"lhs_dilation": (3, 3), "padding": ((0, 0), (0, 0))}),
    "wide halos": ((2, 1024, 1024, 16), (3, 3, 16, 16), {"rhs_dilation": (600, 300)}),
    "uneven": ((2, 2047, 1021, 16), (3, 3, 16, 16), {}),
}
SHARED = {"images, rows": {"n": ("x",), "0": ("y",)}, "rows, columns": {"0": ("x",), "1": ("y",)}}


def geometries(shape, taps, dtype, arguments):
    """Role -> the convolution that it is."""

    def forward(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, **arguments)

    image, kernel = jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct(taps, dtype)
    out = jax.eval_shape(forward, image, kernel)
    found = convolutions(lambda *args: jax.vjp(forward, *args[:2])[1](args[2]), image, kernel, out)
    return {each.role: each.geometry for each in found}


@pytest.mark.parametrize("role", ["forward", "input gradient", "weight gradient"])
@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in LARGE), ("5x5", "bfloat16"), ("windows that drift", "bfloat16")],
)
def test_memory_of_a_shard(name, dtype, shared, role):
    """The workspace, the rows received and those sent, and both once more at the edges. No copy of the shard."""
    shape, taps, more = LARGE[name]
    geometry = geometries(shape, taps, dtype, {**SAME, "window_strides": (1,) * (len(shape) - 2), **more})[role]
    held, bound = factors.factors_of(geometry), 2**20
    names = {"n": "n", "0": "p0", "1": "p1"} if role != "weight gradient" else {"n": "c", "0": "t0", "1": "t1"}
    axes = {names[what]: over for what, over in SHARED[shared].items()}
    lhs_spec, rhs_spec, out_spec = (factors.partition_spec(factors.spec_of(array, axes)) for array in held[:3])

    def convolve(lhs, rhs, params, taken):
        left = bound - taken
        return jaxconv.conv_general_dilated(lhs, rhs, **params, algorithm="im2col", max_workspace_bytes=left)

    def on_shard(lhs, rhs):
        sizes = dict(mesh().shape)
        return shard.convolve_shard(convolve, lhs, rhs, geometry, to_params(geometry), axes, sizes, max_bytes=bound)

    def even(layout, spec):
        shards = [prod(mesh().shape[over] for over in split or ()) for split in spec]
        rounded = tuple(-(-size // count) * count for size, count in zip(layout.shape, shards, strict=True))
        return jax.ShapeDtypeStruct(rounded, dtype, sharding=NamedSharding(mesh(), spec))

    operands = even(geometry.lhs_layout, lhs_spec), even(geometry.rhs_layout, rhs_spec)
    f = jax.shard_map(on_shard, mesh=mesh(), in_specs=(lhs_spec, rhs_spec), out_specs=out_spec, check_vma=False)
    program = jax.jit(f).lower(*operands).compile()
    halos = traffic(program.as_text() or "")["collective-permute"].bytes
    memory: Any = program.memory_analysis()
    assert memory.temp_size_in_bytes <= bound + 5 * halos
    if name != "wide halos":
        assert (
            bound + 5 * halos < operands[0].size * np.dtype(dtype).itemsize // 8
        )  # a copy of the shard would be noticed


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


def test_a_program_of_two_meshes():
    """Which mesh devices belong to is the caller's affair. Here they are four by two as well as two by four."""
    other = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto, AxisType.Auto))
    rows, columns = NamedSharding(mesh(), P(None, "y")), NamedSharding(other, P(None, None, "a"))
    lhs, rhs = random(IMAGE), random(KERNEL, 1)

    def f(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, **SAME)

    got = jax.jit(f, in_shardings=(rows, None), out_shardings=columns)(lhs, rhs)
    np.testing.assert_allclose(got, lax.conv_general_dilated(lhs, rhs, **SAME), 1e-12, 1e-12)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_mesh_with_some_axes_manual(kind):
    """The others are left to XLA, or to types, as they are with lax's."""
    lhs, rhs = random(IMAGE), random(KERNEL, 1)
    with jax.set_mesh(mesh(kind)):
        f = jax.shard_map(
            lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, algorithm="im2col"),
            in_specs=(P("x"), P()),
            out_specs=P("x"),
            axis_names={"x"},
        )
        got = jax.jit(f)(jax.device_put(lhs, P("x", "y")), jax.device_put(rhs, P()))
    np.testing.assert_allclose(got, lax.conv_general_dilated(lhs, rhs, **SAME), 1e-12, 1e-12)


def test_exported_programs_of_several_devices():
    """Another process compiles them: they are shared out by XLA alone."""
    lhs, rhs = put(random(IMAGE), "x"), random(KERNEL, 1)
    f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, algorithm="im2col"))
    exported = jax.export.export(f)(lhs, rhs)
    assert "CustomSPMDPartitioning" in f.lower(lhs, rhs).as_text()
    assert "CustomSPMDPartitioning" not in exported.mlir_module()
    np.testing.assert_allclose(jax.jit(exported.call)(lhs, rhs), f(lhs, rhs), 1e-12, 1e-12)


def test_programs_for_platforms_that_are_not_here():
    lhs, rhs = put(random(IMAGE), "x", "y"), random(KERNEL, 1)
    traced = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME)).trace(lhs, rhs)
    assert "CustomSPMDPartitioning" in traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "CustomSPMDPartitioning" not in traced.lower(lowering_platforms=("tpu",)).as_text()  # libtpu cannot ask


def test_what_xla_partitions_is_lax_s_convolution_where_that_is_right():
    """In exported programs, and beside manual axes: other algorithms may gather, lax's batch groups are wrong."""
    lhs, rhs = put(random(IMAGE), None, "y"), random(KERNEL, 1)
    exported = jax.export.export(jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME)))(lhs, rhs)
    assert collectives(exported.call, lhs, rhs) == PERMUTES

    batch_groups = {**SAME, "batch_group_count": 8}
    lhs, rhs = random((16, 8, 8, 4)), random((3, 3, 4, 16), 1)
    f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **batch_groups))
    channels = put(lhs, None, None, None, "x"), put(rhs, None, None, None, "x")
    expected = lax.conv_general_dilated(lhs, rhs, **batch_groups)
    for call in (f, jax.jit(jax.export.export(f)(*channels).call)):
        np.testing.assert_allclose(call(*channels), expected, 1e-12, 1e-12)


def test_programs_of_different_plans_differ():
    """JAX's compilation cache tells them apart by their text."""
    lhs, rhs = put(random(IMAGE), "x"), random(KERNEL, 1)
    part = geometry_of(jax.ShapeDtypeStruct((4, *IMAGE[1:]), lhs.dtype), rhs, **SAME)

    def text(algorithm):
        with Plan(conditions(), {part: Tuned(algorithm, {algorithm: 1e-6}, {})}):
            f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME))
            lines = f.lower(lhs, rhs).as_text().splitlines()
        return [re.sub(r'backend_config = "\d+"', "", line) for line in lines]

    assert text("im2col") == text("im2col") != text("kn2row")


def test_what_a_shard_copies_is_taken_from_its_memory(monkeypatch):
    asked, choose = [], _primitive.choose
    monkeypatch.setattr(_primitive, "choose", lambda request, *rest: asked.append(request) or choose(request, *rest))
    lhs, rhs = put(random((8, 16, 12, 4), dtype="float32"), "x", "y"), random(KERNEL, 1, "float32")
    f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, max_workspace_bytes=2**20))
    f.lower(lhs, rhs).compile()
    assert min(request.settings.max_workspace_bytes for request in asked) < 2**20
