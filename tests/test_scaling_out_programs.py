"""Programs of several devices: of explicit axes, of two meshes, exported, for other platforms; and what is gathered."""

import re
import warnings

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sharing_out import IMAGE, KERNEL, PERMUTES, SAME, collectives, mesh, put, random

import jaxconv
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned
from jaxconv._sharding import shard


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


def test_programs_of_different_choices_differ():
    """XLA's cache on disk knows them by their text."""
    lhs, rhs = put(random(IMAGE), "x"), random(KERNEL, 1)

    def text(algorithm):
        f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, algorithm=algorithm))
        lines = f.lower(lhs, rhs).as_text().splitlines()
        return [re.sub(r'backend_config = "\d+"', "", line) for line in lines]

    assert text("im2col") == text("im2col") != text("kn2row")


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
