"""Installed, programs of several devices, of other platforms and exported ones are as within `accelerate`."""

import jax
import numpy as np
import pytest
from installing import LHS, RHS, assert_same, conv, ours, program, random
from installing import clean as clean
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv


def step(lhs, rhs):
    """The value and both gradients."""
    return jax.value_and_grad(lambda lhs, rhs: (conv(lhs, rhs) ** 2).sum(), (0, 1))(lhs, rhs)


def test_shared_out_by_the_compiler():
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
