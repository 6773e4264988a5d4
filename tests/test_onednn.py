"""oneDNN within XLA: called where it is known to work, and nowhere else.

That it computes right is among what `test_algorithms` says of every algorithm."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from marks import needs_onednn

import jaxconv
from jaxconv._algorithm import MAX_WORKSPACE_BYTES
from jaxconv._algorithms import _onednn, _onednn_call, onednn
from jaxconv._parameters import geometry_of
from jaxconv._select import EXPORTED_CPU, choose, predictions
from jaxconv._settings import Request, Settings

NHWC = ("NHWC", "HWIO", "NHWC")
CHANNELS_LAST = {3: ("NWC", "WIO", "NWC"), 4: NHWC, 5: ("NDHWC", "DHWIO", "NDHWC")}  # by the axes of an array
ROOT = Path(__file__).parent.parent


def conv(lhs, rhs, padding: Any = "SAME", **more):
    return jaxconv.conv_general_dilated(lhs, rhs, (1, 1), padding, dimension_numbers=NHWC, **more)


@pytest.fixture
def operands() -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(0))
    return jax.random.normal(keys[0], (2, 9, 8, 5), "float32"), jax.random.normal(keys[1], (3, 3, 5, 7), "float32")


@pytest.fixture
def asked_anew():
    """The question whether oneDNN is there, without the answer that this process has."""
    _onednn.tried.cache_clear()
    yield
    _onednn.tried.cache_clear()


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


@pytest.mark.parametrize("version", ["0.9.2", "0.13.0", "1.0", None])
def test_versions_it_was_not_tried_with(monkeypatch, asked_anew, operands, version):
    monkeypatch.setattr(_onednn, "version", lambda package: version)
    monkeypatch.setattr(_onednn, "_try", lambda: pytest.fail("tried, which may end the process"))
    monkeypatch.setattr(_onednn.platform, "machine", lambda: "x86_64")
    assert f"this is {version or 'unknown'}" in _onednn.lack()
    with pytest.raises(ValueError, match="'onednn' cannot do this convolution: oneDNN was tried with jaxlib"):
        conv(*operands, algorithm="onednn")


@pytest.mark.parametrize(
    "flags, variable, reason",
    [
        ({"sse4_1"}, None, "oneDNN's kernels are for processors with AVX2, and this one has none"),
        ({"avx2"}, "SSE41", "oneDNN is told to do without AVX2: ONEDNN_MAX_CPU_ISA=SSE41"),
        ({"avx2"}, "AVX", "oneDNN is told to do without AVX2: ONEDNN_MAX_CPU_ISA=AVX"),
        ({"avx2"}, "avx512_core", "tried"),
        (set(), None, "tried"),  # where the system does not tell
    ],
)
def test_few_instructions(monkeypatch, asked_anew, flags, variable, reason):
    monkeypatch.setattr(_onednn.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(_onednn, "version", lambda package: "0.10.2")
    monkeypatch.setattr(_onednn, "processor_flags", lambda: frozenset(flags))
    monkeypatch.setattr(_onednn, "_try", lambda: "tried")
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    if variable:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", variable)
    else:
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert _onednn.lack() == reason


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


def test_other_processors(monkeypatch, asked_anew):
    monkeypatch.setattr(_onednn.platform, "machine", lambda: "aarch64")
    assert _onednn.lack() == "jaxlib has oneDNN for x86 processors, and this one is aarch64"


@needs_onednn
def test_a_jaxlib_without_it(monkeypatch, asked_anew):
    monkeypatch.setattr(_onednn_call, "TARGET", "__onednn$no_such_thing")
    assert _onednn.lack().startswith("XLA does not run oneDNN here: ")


@needs_onednn
@pytest.mark.parametrize("change", [{"strides": (1, 1)}, {"rhs_dilation": (1, 1)}, {"padding": ((2, 1), (0, 0))}])
def test_a_call_that_means_something_else_is_noticed(monkeypatch, asked_anew, change):
    """Arguments that come to the same number of results or to another one."""
    call = _onednn.call

    def other(lhs, rhs, geometry):
        return jnp.resize(call(lhs, rhs, replace(geometry, **change)), geometry.out_layout.shape)

    monkeypatch.setattr(_onednn, "call", other)
    assert _onednn.lack() == "XLA ran oneDNN and the result was wrong"


@needs_onednn
def test_bfloat16_is_left_to_others_where_it_would_end_the_process(monkeypatch, operands):
    geometry = geometry_of(*(x.astype("bfloat16") for x in operands), (1, 1), "SAME", dimension_numbers=NHWC)
    for flags, variable in ((frozenset({"avx2"}), None), (_onednn.BFLOAT16_FLAGS, "ONEDNN_MAX_CPU_ISA")):
        _onednn.has_bfloat16.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(_onednn, "processor_flags", lambda flags=flags: flags)
            if variable:
                patched.setenv(variable, "AVX2")
            assert _onednn.refuses(geometry) == "its convolutions of bfloat16 are for processors with AVX-512"
    _onednn.has_bfloat16.cache_clear()


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


def run(code, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_onednn
@pytest.mark.parametrize("where", ["grad", "set_mesh", "scan", "vmap"])
def test_the_first_question_may_come_anywhere(where):
    """Within any trace and any context: a process that has not tried oneDNN yet tries it there."""
    code = f"""
import jax, jax.numpy as jnp, jaxconv
from jaxconv._algorithms import _onednn
def f(x, w):
    return jaxconv.conv_general_dilated(x, w, (1, 1), "SAME", algorithm="onednn").sum()
x, w = jnp.ones((2, 3, 6, 6)), jnp.ones((4, 3, 3, 3))
where = {where!r}
if where == "set_mesh":
    with jax.set_mesh(jax.make_mesh((1,), ("x",))):
        jax.jit(f)(x, w)
elif where == "scan":
    jax.lax.scan(lambda carry, x: (carry + f(x[None], w), None), 0.0, x)
else:
    dict(grad=jax.grad(f), vmap=jax.vmap(f, (None, 0)))[where](x, w if where == "grad" else jnp.stack([w, w]))
assert _onednn.tried.cache_info().currsize == 1 and not _onednn.lack()
"""
    run(code)


# name: arguments of (lhs, rhs, groups), each large in its own way
LARGE = {
    "images": ((32, 64, 64, 64), (3, 3, 64, 64), 1),
    "channels": ((2, 16, 16, 1024), (3, 3, 1024, 96), 1),
    "odd channels": ((16, 64, 64, 33), (5, 5, 33, 65), 1),
    "one channel": ((4, 512, 512, 1), (31, 31, 1, 3), 1),
    "depthwise": ((16, 64, 64, 144), (7, 7, 1, 144), 144),
    "groups": ((16, 64, 64, 128), (3, 3, 4, 128), 32),
    "odd groups": ((16, 64, 64, 60), (3, 3, 5, 84), 12),
}
FOR_THREADS = 2**21  # bytes of their stacks, and of oneDNN's buffers for each, which are not estimated


@needs_onednn
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell")
@pytest.mark.parametrize("role", ["forward", "weights"])
@pytest.mark.parametrize("layer", LARGE)
def test_memory_as_the_system_sees_it(layer, role):
    """What oneDNN allocates the compiler does not count: the peak of a process beside operands and result.

    Without what the C library keeps of freed memory, for each thread anew: there each array is the system's own.
    """
    code = f"""
import jax, jax.numpy as jnp, jaxconv
from jaxconv._bench.memory import peak_bytes, start_over
shape, taps, groups = {LARGE[layer]!r}
def f(x, w):
    return jaxconv.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers={NHWC!r}, feature_group_count=groups, algorithm="onednn")
x, w = jnp.ones(shape), jnp.ones(taps)
operands = x, w
if {role!r} == "weights":
    y = jax.eval_shape(f, x, w)
    operands = x, jnp.ones(y.shape)
    f = jaxconv.accelerate(lambda x, y: jax.linear_transpose(lambda w: jax.lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers={NHWC!r}, feature_group_count=groups), w)(y)[0], algorithm="onednn")
f = jax.jit(f)
small = [a[:1] for a in operands] if {role!r} == "weights" else [x[:1], w]
f(*small).block_until_ready()  # oneDNN's own code, and its threads
(row,) = jaxconv.explain(f, *operands).rows
compiled = f.lower(*operands).compile()
start_over()
before = peak_bytes()
out = compiled(*operands).block_until_ready()
print(row.algorithm, row.workspace, peak_bytes() - before - out.nbytes)
"""
    used, estimate, peak = run(code, MALLOC_MMAP_THRESHOLD_=str(2**16)).split()
    assert (used == "onednn") == (role == "forward" or "groups" not in layer)
    assert used == "xla" or int(peak) - FOR_THREADS <= int(estimate) <= MAX_WORKSPACE_BYTES


# name: shapes of lhs and of the taps whose gradient is taken, and arguments
WEIGHTS = {
    "one axis": ((3, 300, 4), (5, 4, 6), {"window_strides": (2,), "padding": "SAME"}),
    "many images": ((24, 13, 11, 3), (3, 2, 3, 5), {"padding": ((1, 1), (0, 1))}),
    "a prime number of images": ((11, 9, 9, 2), (3, 3, 2, 4), {"rhs_dilation": (2, 1)}),
    "strided": ((2, 16, 15, 4), (3, 3, 4, 6), {"window_strides": (2, 3), "padding": "SAME"}),
    "cropped": ((2, 14, 15, 4), (3, 3, 4, 6), {"padding": ((-2, 1), (0, -1))}),
    "volumes": ((3, 6, 7, 8, 4), (3, 2, 3, 4, 5), {"padding": ((1, 1), (0, 1), (2, 0))}),
    "volumes, strided": ((8, 9, 8, 7, 3), (2, 3, 3, 3, 6), {"window_strides": (2, 1, 2), "padding": "SAME"}),
    "volumes, dilated, cropped": (
        (8, 12, 8, 9, 3),
        (3, 2, 2, 3, 4),
        {"rhs_dilation": (2, 1, 3), "padding": ((-1, 1), (0, -1), (1, 1))},
    ),
    "one plane": ((5, 1, 9, 8, 3), (3, 3, 3, 3, 4), {"padding": "SAME"}),
    "depthwise": ((3, 12, 13, 20), (3, 3, 1, 20), {"padding": "SAME", "feature_group_count": 20}),
    "depthwise volumes": ((2, 6, 7, 8, 4), (3, 2, 3, 1, 4), {"padding": "SAME", "feature_group_count": 4}),
}


@needs_onednn
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("parts", [1, 2])
def test_weight_gradients(name, dtype, parts):
    """By oneDNN alone, in as few parts as can be and in more."""
    shape, taps, more = WEIGHTS[name]
    arguments = {"window_strides": (1,) * (len(shape) - 2), "padding": "VALID", **more}
    arguments["dimension_numbers"] = CHANNELS_LAST[len(shape)]
    keys = jax.random.split(jax.random.key(0), 3)
    lhs = jax.random.normal(keys[0], shape, dtype)

    def gradient(lhs, cotangent):
        def f(rhs):
            return lax.conv_general_dilated(lhs, rhs, **arguments)

        return jax.linear_transpose(f, jax.ShapeDtypeStruct(taps, lhs.dtype))(cotangent)[0]

    out = jax.eval_shape(partial(lax.conv_general_dilated, **arguments), lhs, jax.ShapeDtypeStruct(taps, dtype))
    cotangent = jax.random.normal(keys[1], out.shape, dtype)
    asked: dict[str, Any] = {"algorithm": "onednn"}
    if parts > 1:
        (row,) = jaxconv.explain(jaxconv.accelerate(gradient, **asked), lhs, cotangent).rows
        assert row.workspace
        asked["max_workspace_bytes"] = row.workspace // 2
    f = jax.jit(jaxconv.accelerate(gradient, **asked))
    text = f.lower(lhs, cotangent).as_text()
    if "depthwise" in name and dtype == "bfloat16":
        assert _onednn_call.TARGET not in text
        return
    assert _onednn_call.TARGET in text and "stablehlo.convolution" not in text
    in_turns = name.startswith(("depthwise", "volumes")) or shape[0] > 8
    assert ("stablehlo.while" in text) == (parts > 1 or in_turns)
    want = gradient(*(jnp.asarray(x, "float64") for x in (lhs, cotangent)))
    np.testing.assert_allclose(f(lhs, cotangent), want, *((1e-5, 1e-4) if dtype == "float32" else (2e-2, 0.2)))
    assert f(lhs, cotangent).dtype == dtype


@needs_onednn
def test_weight_gradients_of_groups_are_left_to_others():
    lhs, rhs = jnp.ones((2, 12, 12, 8), "float32"), jnp.ones((3, 3, 4, 8), "float32")
    asked = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, "feature_group_count": 2}
    f = jax.grad(lambda rhs: jaxconv.conv_general_dilated(lhs, rhs, **asked, algorithm="onednn").sum())
    row = jaxconv.explain(f, rhs).rows[-1]
    assert row.algorithm == "xla" and "its groups have one output channel, and here 4" in row.why


@needs_onednn
def test_strips_get_their_tap_of_zeros_from_xla_alone(operands):
    """That is for its convolutions."""
    lhs, rhs = (jnp.ones(shape, "float32") for shape in ((2, 5, 5, 4), (5, 5, 4, 3)))

    def program(platform):
        f = jax.jit(partial(conv, padding=((0, 0), (1, 1)), algorithm="strips"))
        return f.trace(lhs, rhs).lower(lowering_platforms=(platform,)).as_text()

    assert "tensor<6x1x" in program("tpu") and "tensor<6x1x" not in program("cpu")


# Convolutions that ended the process, or never ended, when oneDNN was given them: lhs, rhs, groups, and arguments
ENDED = {
    "depthwise, dilated": ((2, 9, 27, 40), (2, 2, 1, 40), 40, {"rhs_dilation": (2, 1)}),
    "bfloat16, groups": ((2, 30, 93, 112), (3, 5, 16, 112), 7, {"dtype": "bfloat16"}),
    "strides and dilation, one channel": (
        (1, 47, 67, 24, 1),
        (2, 16, 10, 1, 16),
        1,
        {"window_strides": (5, 1, 1), "rhs_dilation": (1, 4, 1)},
    ),
}
# and some that are given to it in another form
CHANGED = {
    "depthwise, along one axis": ((2, 60, 40), (53, 1, 40), 40, {"padding": [(0, 3)]}),
    "depthwise, no dilation": (
        (2, 9, 27, 40),
        (1, 2, 1, 40),
        40,
        {"rhs_dilation": (2, 1), "padding": [(1, 0), (1, 0)]},
    ),
    "tall, one channel": ((1, 601, 64, 1), (600, 1, 1, 64), 1, {}),
}


@needs_onednn
@pytest.mark.parametrize("name", [*ENDED, *CHANGED])
def test_what_ended_the_process(name):
    shape, taps, groups, more = {**ENDED, **CHANGED}[name]
    dtype = more.get("dtype", "float32")
    arguments = {"window_strides": (1,) * (len(shape) - 2), "padding": "VALID", "feature_group_count": groups, **more}
    arguments.pop("dtype", None)
    arguments["dimension_numbers"] = CHANNELS_LAST[len(shape)]
    lhs, rhs = (jax.random.normal(jax.random.key(seed), size, dtype) for seed, size in enumerate((shape, taps)))
    asked: Any = {"algorithm": "onednn"}
    if name in ENDED:
        asked = {}
        with pytest.raises(ValueError, match="'onednn' cannot do this convolution"):
            jaxconv.conv_general_dilated(lhs, rhs, **arguments, algorithm="onednn")
    got = jaxconv.conv_general_dilated(lhs, rhs, **arguments, **asked)
    want = lax.conv_general_dilated(lhs.astype("float64"), rhs.astype("float64"), **arguments)
    np.testing.assert_allclose(got.astype("float64"), want, *((1e-4, 1e-3) if dtype == "float32" else (2e-2, 1.0)))


@needs_onednn
def test_only_good_kernels_are_asked_for():
    """What oneDNN falls back on, products of matrices by its own threads, may wait for ever within XLA's."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "onednn_kernels.py"), "200"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-2000:] + done.stderr[-2000:]
    kernels = set(re.findall(r"create:cache_miss,cpu,convolution,([\w:]+)", done.stdout))
    assert {name.split(":")[0] for name in kernels} <= {"brg_conv_fwd", "brgconv_1x1", "brdgmm_dw", "jit", "ip"}
    assert done.stdout.count("{") > 100 and len(kernels) >= 4
