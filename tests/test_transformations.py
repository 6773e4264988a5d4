"""Whatever JAX does to lax's convolution it does to ours, with the same values, types and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import checkify, jet
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from marks import lax_has_integers, several_devices

import jaxconv
from jaxconv._algorithm import Algorithm
from jaxconv._algorithms import ALGORITHMS, im2col

ARGUMENTS = {"window_strides": (2, 1), "padding": "SAME", "rhs_dilation": (1, 2), "feature_group_count": 2}


def theirs(lhs, rhs, **changes):
    return lax.conv_general_dilated(lhs, rhs, **{**ARGUMENTS, **changes})


def ours(algorithm):
    def conv(lhs, rhs, **changes):
        return jaxconv.conv_general_dilated(lhs, rhs, **{**ARGUMENTS, **changes}, algorithm=algorithm)

    return conv


# What JAX does to the primitive is the same for all algorithms: a loop, a product of matrices and lax's own.
SOME = ("naive", "im2col", "xla")
some_algorithms = pytest.mark.parametrize("conv", [ours(name) for name in (None, *SOME)], ids=["default", *SOME])


def random(shape, seed, dtype="float64"):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


LHS, RHS = random((4, 4, 6, 5), 0), random((6, 2, 3, 2), 1)
SMALL, FEW = LHS[:1, :, :2, :3], RHS[:2, :, :2, :1]
THREE_LHS, THREE_RHS = random((3, *LHS.shape), 2), random((3, *RHS.shape), 3)
HALF = LHS.astype("bfloat16"), RHS.astype("bfloat16")


def square(conv, **changes):
    return lambda lhs, rhs: (conv(lhs, rhs, **changes) ** 2).sum()


def same_channels(conv):
    """A step that can follow itself."""
    return lambda x, rhs: jnp.tanh(conv(x, rhs, window_strides=(1, 1))[:, :4])


def repeated(conv):
    step = same_channels(conv)
    return lambda x, rhs: lax.scan(lambda x, _: (step(x, rhs), None), x, None, length=3)[0].sum()


def branched(conv):
    return lambda x, rhs: lax.cond(
        x[0, 0, 0, 0] > 0, lambda x: conv(x, rhs).sum(), lambda x: 2 * conv(-x, rhs).sum(), x
    )


def mesh(*axis_types):
    sizes = (4,) if len(axis_types) == 1 else (2, 2)
    return jax.make_mesh(sizes, ("a", "b")[: len(sizes)], axis_types=axis_types)


def mapped(conv):
    on_shard = jax.shard_map(conv, mesh=mesh(AxisType.Auto), in_specs=(P("a"), P()), out_specs=P("a"))
    return lambda lhs, rhs: jnp.sin(on_shard(lhs, rhs)).sum()


def sharded(conv):
    batch = NamedSharding(mesh(AxisType.Auto), P("a"))
    return jax.jit(conv)(jax.device_put(LHS, batch), RHS)


def explicitly_sharded(conv):
    with jax.set_mesh(mesh(AxisType.Explicit, AxisType.Explicit)):
        lhs, rhs = jax.device_put(LHS, P("a")), jax.device_put(RHS, P("b"))
        return jax.jit(lambda lhs, rhs: conv(lhs, rhs, out_sharding=P("a", "b")))(lhs, rhs)


def explicit_gradients(conv):
    # Without groups: lax's own gradients are wrong for a grouped convolution of a sharded batch.
    with jax.set_mesh(mesh(AxisType.Explicit)):
        lhs, rhs = jax.device_put(LHS, P("a")), jax.device_put(random((6, 4, 3, 2), 1), P())
        both = jax.grad(square(conv, feature_group_count=1, out_sharding=P("a")), argnums=(0, 1))
        return jax.jit(both)(lhs, rhs)


TRANSFORMED = {
    "eager": lambda conv: conv(LHS, RHS),
    "of numpy arrays": lambda conv: conv(np.asarray(LHS), np.asarray(RHS)),
    "jit": lambda conv: jax.jit(conv)(LHS, RHS),
    "grad": lambda conv: jax.grad(square(conv), (0, 1))(LHS, RHS),
    "jvp": lambda conv: jax.jvp(conv, (LHS, RHS), (LHS + 1, RHS - 1)),
    "jacfwd": lambda conv: jax.jacfwd(conv, 1)(SMALL, FEW),
    "jacrev": lambda conv: jax.jacrev(conv, 0)(SMALL, FEW),
    "hessian": lambda conv: jax.hessian(square(conv), (0, 1))(SMALL, FEW),
    "third derivative": lambda conv: jax.jvp(
        jax.grad(lambda t: jax.grad(square(conv))(t * SMALL, FEW).sum()), (1.5,), (1.0,)
    ),
    "linear_transpose": lambda conv: jax.linear_transpose(lambda lhs: conv(lhs, RHS), LHS)(theirs(LHS, RHS)),
    "vmap of grad": lambda conv: jax.vmap(jax.grad(lambda rhs, lhs: conv(lhs[None], rhs).sum()), (None, 0))(RHS, LHS),
    "grad of vmap": lambda conv: jax.grad(lambda lhs: square(jax.vmap(conv, (0, 0)))(lhs, THREE_RHS))(THREE_LHS),
    "vmap, none of them": lambda conv: jax.vmap(conv, (0, None))(THREE_LHS[:0], RHS),
    "vmap, no pairs": lambda conv: jax.vmap(conv)(THREE_LHS[:0], THREE_RHS[:0]),
    "vmap of batch groups": lambda conv: jax.vmap(
        lambda lhs, rhs: conv(lhs, rhs, feature_group_count=1, batch_group_count=2), (0, None)
    )(THREE_LHS[:, :, :2], RHS),
    "checkpoint": lambda conv: jax.grad(jax.checkpoint(square(conv)), (0, 1))(LHS, RHS),
    "jet": lambda conv: jet.jet(conv, (LHS, RHS), ([LHS, 2 * LHS, LHS], [RHS, -RHS, 0 * RHS])),
    "scan": lambda conv: jax.jit(jax.value_and_grad(repeated(conv), (0, 1)))(LHS, RHS),
    "while": lambda conv: lax.fori_loop(0, 3, lambda i, x: same_channels(conv)(x, RHS), LHS),
    "cond": lambda conv: jax.jit(jax.value_and_grad(branched(conv), (0, 1)))(LHS, RHS),
    "shard_map": lambda conv: jax.jit(jax.value_and_grad(mapped(conv), (0, 1)))(LHS, RHS),
    "sharded by the compiler": sharded,
    "explicitly sharded": explicitly_sharded,
    "explicitly sharded gradients": explicit_gradients,
    "wider result": lambda conv: conv(*HALF, preferred_element_type="float32"),
    "gradients of a wider result": lambda conv: jax.grad(square(conv, preferred_element_type="float32"), (0, 1))(*HALF),
    "integers to float": lambda conv: conv(
        (8 * LHS).astype("int8"), (8 * RHS).astype("int8"), preferred_element_type="float32"
    ),
    "precision": lambda conv: conv(LHS, RHS, precision="highest"),
    "precision as value": lambda conv: conv(LHS, RHS, precision=lax.Precision.HIGH),
    "two precisions": lambda conv: jax.grad(square(conv, precision=("high", "highest")))(LHS, RHS),
    "layout as value": lambda conv: conv(
        LHS.transpose(0, 2, 3, 1),
        RHS.transpose(2, 3, 1, 0),
        dimension_numbers=lax.conv_dimension_numbers((4, 6, 5, 4), (3, 2, 2, 6), ("NHWC", "HWIO", "NHWC")),
    ),
    "weak types": lambda conv: conv(
        jnp.broadcast_to(2.0, (1, 4, 3, 3)), jnp.broadcast_to(jnp.asarray(3.0), (2, 2, 3, 2))
    ),
    "arguments as lists": lambda conv: conv(LHS, RHS, window_strides=[2, 1], padding=[[1, 0], (0, 1)]),
    "arguments as arrays": lambda conv: conv(
        LHS, RHS, window_strides=np.array([2, 1]), padding=np.array([[1, 0], [0, 1]])
    ),
}


NEEDS = {"integers to float": lax_has_integers, **{name: several_devices for name in TRANSFORMED if "shard" in name}}


@some_algorithms
@pytest.mark.parametrize(
    "transformed", [pytest.param(f, id=name, marks=NEEDS.get(name, ())) for name, f in TRANSFORMED.items()]
)
def test_equals_lax(conv, transformed):
    got, expected = transformed(conv), transformed(theirs)

    def equal(got, expected):
        assert jax.typeof(got) == jax.typeof(expected)  # shape, dtype, weak type, sharding
        tolerance = {"bfloat16": 0.02, "float32": 1e-6}.get(got.dtype.name, 1e-9)  # of sums in another order
        np.testing.assert_allclose(
            np.asarray(got.astype("float64")), np.asarray(expected.astype("float64")), tolerance, tolerance
        )

    jax.tree.map(equal, got, expected)


@some_algorithms
def test_checkify_checks_its_results(conv):
    checked = checkify.checkify(jax.jit(conv), checkify.float_checks)
    assert checked(LHS, RHS)[0].get() is None
    assert "nan generated by primitive" in str(checked(LHS.at[0, 0, 0, 0].set(jnp.nan), RHS)[0].get())


@some_algorithms
@pytest.mark.parametrize("axis", range(5))
@pytest.mark.parametrize("mapped", ["lhs", "rhs", "both"])
def test_vmap_at_every_axis(conv, axis, mapped):
    lhs, rhs = jnp.moveaxis(THREE_LHS, 0, axis), jnp.moveaxis(THREE_RHS, 0, axis)
    axes = {"lhs": (axis, None), "rhs": (None, axis), "both": (axis, -1 - axis)}[mapped]
    arguments = (
        lhs if axes[0] is not None else LHS,
        RHS if axes[1] is None else rhs if axes[1] >= 0 else jnp.moveaxis(THREE_RHS, 0, axes[1]),
    )
    got, expected = jax.vmap(conv, axes, axis)(*arguments), jax.vmap(theirs, axes, axis)(*arguments)
    np.testing.assert_allclose(got, expected, 1e-9, 1e-9)


@several_devices
@pytest.mark.parametrize("algorithm", ["naive", "im2col"])
def test_grouped_gradients_of_a_sharded_batch_are_right(algorithm):
    """lax's own are wrong by far more than rounding here; ours must equal the unsharded ones."""
    lhs, rhs = random((8, 8, 6, 4), 0), random((8, 1, 3, 3), 1)

    def gradients(lhs, rhs):
        conv = ours(algorithm)
        return jax.grad(square(conv, feature_group_count=8, rhs_dilation=(1, 1)), argnums=(0, 1))(lhs, rhs)

    shared = mesh(AxisType.Auto, AxisType.Auto)
    put = jax.device_put(lhs, NamedSharding(shared, P("a"))), jax.device_put(rhs, NamedSharding(shared, P()))
    for got, expected in zip(jax.jit(gradients)(*put), gradients(lhs, rhs), strict=True):
        np.testing.assert_allclose(got, expected, 1e-9, 1e-9)


@several_devices
@some_algorithms
def test_errors_of_explicit_axes_are_those_of_lax(conv):
    with jax.set_mesh(mesh(AxisType.Explicit, AxisType.Explicit)):
        lhs, rhs = jax.device_put(LHS, P("a")), jax.device_put(RHS, P("b"))
        with pytest.raises(Exception) as expected:
            jax.jit(theirs)(lhs, rhs)
        with pytest.raises(type(expected.value)) as got:
            jax.jit(conv)(lhs, rhs)
    assert str(got.value) == str(expected.value)


@some_algorithms
def test_export_for_every_platform(conv):
    both = jax.jit(jax.value_and_grad(square(conv), (0, 1)))
    exported = jax.export.export(both, platforms=("cpu", "cuda", "tpu"))(LHS, RHS)
    for got, expected in zip(jax.tree.leaves(exported.call(LHS, RHS)), jax.tree.leaves(both(LHS, RHS)), strict=True):
        np.testing.assert_allclose(got, expected, 1e-9)


def test_exported_for_several_platforms_each_has_its_own_choice():
    """Depthwise on the CPU, where it was measured."""
    lhs, rhs = jax.ShapeDtypeStruct((8, 28, 28, 96), "float32"), jax.ShapeDtypeStruct((3, 3, 1, 96), "float32")

    def conv(lhs, rhs):
        more = {"feature_group_count": 96, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        return jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", **more)

    def lax_convolutions(*platforms):
        exported = jax.export.export(jax.jit(conv), platforms=platforms)(lhs, rhs)
        return exported.mlir_module().count("stablehlo.convolution")

    assert (lax_convolutions("cpu"), lax_convolutions("tpu"), lax_convolutions("cpu", "tpu")) == (0, 1, 1)


@pytest.mark.parametrize("algorithm", [None, "xla"])
def test_symbolic_shapes(algorithm):
    conv = ours(algorithm)
    batch, height = jax.export.symbolic_shape("b, h")
    shape = jax.ShapeDtypeStruct((batch, 4, height, 5), "float64")
    exported = jax.export.export(jax.jit(conv))(shape, RHS)
    np.testing.assert_allclose(exported.call(LHS, RHS), theirs(LHS, RHS), 1e-12)
    np.testing.assert_allclose(exported.call(LHS[:3, :, :4], RHS), theirs(LHS[:3, :, :4], RHS), 1e-12)


@pytest.mark.parametrize("algorithm", ["naive", "im2col"])
def test_symbolic_shapes_are_refused_by_those_that_cannot(algorithm):
    batch = jax.export.symbolic_shape("b")[0]
    with pytest.raises(
        ValueError, match=f"algorithm '{algorithm}' cannot do this convolution: it needs constant shapes"
    ):
        jax.jit(ours(algorithm)).trace(jax.ShapeDtypeStruct((batch, 4, 6, 5), "float64"), RHS)


def test_same_program_as_lax():
    """With "xla", jit-compiled code is what the compiler makes of lax's convolution, forward and backward."""

    def program(conv):
        def f(lhs, rhs):
            return jax.value_and_grad(square(conv), (0, 1))(lhs, rhs)

        # Names and places in the source apart, which are ours.
        text = jax.jit(f).lower(LHS, RHS).compile().as_text() or ""
        return [line.split(", metadata=")[0] for line in text.splitlines() if " = " in line]

    assert program(theirs) and program(ours("xla")) == program(theirs)


@pytest.fixture
def unstrided():
    """A temporary row in the table: an algorithm that refuses lhs dilation and groups."""

    def unsupported(geometry, *bound):
        if max(geometry.lhs_dilation, default=1) > 1:
            return f"it has lhs dilation {geometry.lhs_dilation}"
        return "it has groups" if geometry.groups > 1 else ""

    calls = []

    def convolve(lhs, rhs, geometry, *bound):
        assert not unsupported(geometry)
        calls.append(geometry)
        return im2col.convolve(lhs, rhs, geometry)

    ALGORITHMS["unstrided"] = Algorithm(convolve, unsupported, im2col.ALGORITHM.workspace, im2col.ALGORITHM.turns)
    yield calls
    del ALGORITHMS["unstrided"]


def test_a_request_that_cannot_be_met_is_an_error_where_the_caller_made_it(unstrided):
    with pytest.raises(ValueError, match="algorithm 'unstrided' cannot do this convolution: it has groups"):
        ours("unstrided")(LHS, RHS)
    assert not unstrided


def test_a_request_falls_back_for_what_the_convolution_becomes(unstrided):
    conv, lhs, rhs = ours("unstrided"), random((2, 4, 6, 5), 0), random((3, 4, 3, 2), 1)
    gradients = jax.jit(jax.grad(square(conv, feature_group_count=1), (0, 1)))
    for got, expected in zip(
        gradients(lhs, rhs), jax.grad(square(theirs, feature_group_count=1), (0, 1))(lhs, rhs), strict=True
    ):
        np.testing.assert_allclose(got, expected, 1e-9)
    assert len(unstrided) == 2  # forward and weight gradient; the input gradient is dilated
    unstrided.clear()
    pairs = jax.vmap(lambda lhs, rhs: conv(lhs, rhs, feature_group_count=1))(
        jnp.stack([lhs, lhs]), jnp.stack([rhs, 2 * rhs])
    )
    np.testing.assert_allclose(pairs[1], 2 * pairs[0], 1e-9)
    assert not unstrided  # batched over both operands it has groups


def test_an_eager_call_is_traced_once():
    lhs, rhs = random((1, 4, 3, 3), 0), random((2, 2, 2, 2), 1)
    ours("im2col")(lhs, rhs)
    with jax.no_tracing():
        ours("im2col")(lhs, rhs)
