"""oneDNN within XLA: called where it is known to work, and nowhere else.

That it computes right is among what `test_algorithms` says of every algorithm."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from marks import needs_onednn
from onednn_calls import NHWC, conv, run
from onednn_calls import operands as operands

import jaxconv
from jaxconv._algorithms import _onednn, _onednn_call, onednn
from jaxconv._parameters import geometry_of
from jaxconv._select import EXPORTED_CPU, choose, predictions
from jaxconv._settings import Request, Settings


def program(*operands, platforms=("cpu",), **more):
    f = jax.jit(lambda *operands: conv(*operands, **more))
    return f.trace(*operands).lower(lowering_platforms=platforms).as_text()


@needs_onednn
def test_only_programs_for_this_cpu_call_it(operands):
    assert _onednn_call.TARGET in program(*operands, algorithm="onednn")
    for platforms in (("cuda",), ("tpu",), ("cuda", "tpu")):
        text = program(*operands, platforms=platforms, algorithm="onednn")
        assert _onednn_call.TARGET not in text and "stablehlo.convolution" in text


@needs_onednn
@pytest.mark.parametrize("algorithm, up", [("onednn", 1), ("polyphase", 2), (None, 1), (None, 2)])
def test_exported_programs_do_not(operands, algorithm, up):
    """JAX would refuse to export them."""
    f = jax.jit(partial(conv, padding=((1, 1), (2, 1)), lhs_dilation=(up, up), algorithm=algorithm))
    assert algorithm is None or _onednn_call.TARGET in f.lower(*operands).as_text()
    exported = jax.export.export(f)(*operands)
    assert _onednn_call.TARGET not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(*operands), f(*operands), 1e-4, 1e-4)


@needs_onednn
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_each_shard_calls_it(kind):
    """And nothing is gathered for that, which XLA would do for a call that it had to share out by itself."""
    mesh = jax.make_mesh((2, 4), ("images", "rows"), axis_types=(kind, kind))
    shapes = (2, 16, 5, 8), (3, 3, 8, 4)
    lhs, rhs = (jax.random.normal(jax.random.key(seed), shape, "float32") for seed, shape in enumerate(shapes))
    with jax.set_mesh(mesh):
        placed = NamedSharding(mesh, P("images", "rows")), NamedSharding(mesh, P())
        split = jax.device_put((lhs, rhs), placed)
        compiled = jax.jit(partial(conv, algorithm="onednn")).lower(*split).compile()
        got = np.asarray(compiled(*split))
    text = compiled.as_text() or ""
    assert _onednn_call.TARGET in text and "all-gather" not in text
    want = lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME", dimension_numbers=NHWC)
    np.testing.assert_allclose(got, want, 1e-4, 1e-4)


@needs_onednn
def test_the_reason_is_told(operands):
    geometry = geometry_of(*operands, (1, 1), "SAME", dimension_numbers=NHWC)
    asked = Request("onednn", Settings())
    assert choose(asked, geometry, "cpu").algorithm == "onednn"
    for platform in ("tpu", "cuda", "several", EXPORTED_CPU):
        choice = choose(asked, geometry, platform)
        assert choice.algorithm == "xla" and "onednn was asked for, but" in choice.why
        assert "onednn" not in predictions(geometry, Settings(), platform)
    integers = geometry_of(*(x.astype("int32") for x in operands), (1, 1), "SAME", dimension_numbers=NHWC)
    assert choose(asked, integers, "cpu").why.endswith("it has no convolution of int32 to int32")


@needs_onednn
def test_programs_that_jax_keeps_in_its_cache_do_without(tmp_path):
    """They could not be stored."""
    code = f"""
import jax, jax.numpy as jnp, jaxconv
from jax.experimental import serialize_executable
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_raise_persistent_cache_errors", True)
x, w = jnp.ones((8, 32, 32, 16)), jnp.ones((3, 3, 16, 16))
def f(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
jax.config.update("jax_compilation_cache_dir", {str(tmp_path)!r})
[row] = jaxconv.explain(f, x, w).rows
assert row.rejected["onednn"].endswith("JAX's compilation cache is on"), row.rejected
compiled = jax.jit(jaxconv.accelerate(f)).lower(x, w).compile()
serialize_executable.serialize(compiled)
jax.config.update("jax_enable_compilation_cache", False)
[row] = jaxconv.explain(f, x, w).rows
assert "compilation cache" not in row.rejected.get("onednn", "")
"""
    run(code)
    assert [*tmp_path.iterdir()]


@needs_onednn
@pytest.mark.parametrize("padding", [((-1, 2), (1, -2)), ((-2, -2), (-1, -1)), ((7, 9), (5, 4))])
def test_padding_that_crops_or_is_wider_than_the_kernel(operands, padding):
    lhs, rhs = operands
    got = conv(lhs, rhs, padding, algorithm="onednn")
    want = lax.conv_general_dilated(lhs, rhs, (1, 1), padding, dimension_numbers=NHWC)
    np.testing.assert_allclose(got, want, 1e-4, 1e-4)


@needs_onednn
def test_what_crops_everything_is_left_to_others(operands):
    """What is left is padding, which the results are sums of."""
    lhs, rhs = operands
    cropped = lhs, rhs, (1, 1), ((-10, 12), (1, 1))
    assert "crops all" in _onednn.refuses(geometry_of(*cropped, dimension_numbers=NHWC))
    assert not np.asarray(jaxconv.conv_general_dilated(*cropped, dimension_numbers=NHWC)).any()


@needs_onednn
@pytest.mark.parametrize("letters", ["cgo", "goc", "gco", "ocg"])
def test_taps_in_any_order(letters):
    """Those that it can read are left as they are."""
    rng = np.random.default_rng(0)
    lhs, rhs = (jnp.asarray(rng.normal(size=shape), "float32") for shape in ((2, 6, 4, 3), (3, 3, 4, 5)))
    flat, numbers = (lhs.reshape(2, 6, 12), rhs.reshape(3, 3, 20)), ("NWC", "WIO", "NWC")
    geometry = geometry_of(*flat, (1,), "SAME", dimension_numbers=numbers, feature_group_count=4)
    stored = rhs.transpose(0, *(1 + "cgo".index(letter) for letter in letters))

    def f(lhs, stored):
        return onednn.compute(lhs, onednn.prepare(stored, letters, geometry), geometry)

    want = lax.conv_general_dilated(*flat, (1,), "SAME", dimension_numbers=numbers, feature_group_count=4)
    np.testing.assert_allclose(jax.jit(f)(lhs, stored).reshape(want.shape), want, 1e-4, 1e-4)
    assert ("transpose" in str(jax.make_jaxpr(f)(lhs, stored))) == (letters not in ("cgo", "goc"))


@needs_onednn
def test_strips_get_their_tap_of_zeros_from_xla_alone():
    """That is for its convolutions."""
    lhs, rhs = (jnp.ones(shape, "float32") for shape in ((2, 5, 5, 4), (5, 5, 4, 3)))

    def program(platform):
        f = jax.jit(partial(conv, padding=((0, 0), (1, 1)), algorithm="strips"))
        return f.trace(lhs, rhs).lower(lowering_platforms=(platform,)).as_text()

    assert "tensor<6x1x" in program("tpu") and "tensor<6x1x" not in program("cpu")
