"""What a shard computes: by which algorithm, with sums of which type, and within which memory."""

import re
from math import prod
from typing import Any

import jax
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sharing_out import IMAGE, KERNEL, NHWC, SAME, mesh, put, random

import jaxconv
from jaxconv import _primitive
from jaxconv._bench.collectives import traffic
from jaxconv._collect import convolutions
from jaxconv._parameters import to_params
from jaxconv._sharding import factors, shard
from jaxconv.testing import Problem


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


def test_what_a_shard_copies_is_taken_from_its_memory(monkeypatch):
    asked, choose = [], _primitive.choose
    monkeypatch.setattr(_primitive, "choose", lambda request, *rest: asked.append(request) or choose(request, *rest))
    lhs, rhs = put(random((8, 16, 12, 4), dtype="float32"), "x", "y"), random(KERNEL, 1, "float32")
    f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **SAME, max_workspace_bytes=2**20))
    f.lower(lhs, rhs).compile()
    assert min(request.settings.max_workspace_bytes for request in asked) < 2**20


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
