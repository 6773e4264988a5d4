"""XLA compiles every algorithm for a GPU, in all types, ahead of time, on a machine without one: `make test-gpu`.

What crashes the compiler ends the process: that is how it is found here rather than there. `test_lowering.py` says on
any machine what the programs are made of."""

import importlib.util
import re
from functools import partial

import jax
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from small_problems import TYPES, example, refusal

import jaxconv
from jaxconv import ALGORITHMS
from jaxconv._bench import by_jax
from jaxconv._bench.job import DIRECTIONS, CannotError, Job
from jaxconv._bench.layer import Layer
from jaxconv._bench.suites import KINDS
from jaxconv._select import OF_CUDA
from jaxconv.testing import Problem

PLUGINS = [f"jax_cuda{version}_plugin" for version in (12, 13)]
pytestmark = pytest.mark.skipif(not any(map(importlib.util.find_spec, PLUGINS)), reason="needs CUDA's: make test-gpu")
# An H200 as XLA knows it; of its libraries, any of about these versions.
TARGET = """
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
gpu_device_info {
  name: "NVIDIA H200" cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  clock_rate_ghz: 1.98 memory_bandwidth: 4800000000000 l2_cache_size: 52428800 device_memory_size: 151397597184
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 13 }
"""


@pytest.fixture(scope="module")
def there():
    found = topologies.get_topology_desc("", "cuda", target_config=TARGET, topology="1x1x1").devices
    return SingleDeviceSharding(found[0])


@pytest.mark.parametrize("dtype, preferred", [*TYPES, ("bool", None), ("int4", None), ("float8_e4m3fn", None)])
def test_every_type_compiles(dtype, preferred, there):
    """By the algorithm or, where it ends in a convolution that XLA has not, by products of matrices."""
    done = set()
    for name in ALGORITHMS:
        problem = example(name, dtype, preferred, size=40)
        if name == "onednn" or refusal(problem, name) or (name == "xla" and dtype not in OF_CUDA):
            continue
        shapes = problem.lhs_shape, problem.rhs_shape
        structs = [jax.ShapeDtypeStruct(shape, dtype, sharding=there) for shape in shapes]
        compiled = jax.jit(partial(jaxconv.conv_general_dilated, **problem.arguments, algorithm=name)).lower(*structs)
        assert compiled.compile().memory_analysis() is not None
        done.add(name)
    assert done >= {"naive", "im2col", "kn2row", "col2im", "depthwise", "packing", "slabs", "strips"}


SMALL = {
    "grouped": {"lhs_shape": (2, 8, 1), "rhs_shape": (8, 4, 1), "feature_group_count": 2},
    "few pixels": {"lhs_shape": (1, 2, 5), "rhs_shape": (3, 2, 3)},
    "transposed": {"lhs_shape": (2, 2, 4), "rhs_shape": (3, 2, 3), "lhs_dilation": (3,), "padding": ((2, 2),)},
    "few positions": {"lhs_shape": (2, 3, 9), "rhs_shape": (4, 3, 7), "padding": "VALID"},
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("arguments", SMALL.values(), ids=SMALL)
def test_products_of_half_types_are_not_rounded(arguments, dtype, there):
    """XLA makes loops of small products of matrices, which multiply in the type of their operands: none are of half."""
    problem, tried = Problem(**{"window_strides": (1,), "padding": "SAME", "dtype": dtype, **arguments}), 0
    for name in ALGORITHMS:
        if name in ("onednn", "xla") or refusal(problem, name):
            continue
        structs = [jax.ShapeDtypeStruct(s, dtype, sharding=there) for s in (problem.lhs_shape, problem.rhs_shape)]
        f = partial(jaxconv.conv_general_dilated, **problem.arguments, algorithm=name)
        program = jax.jit(f).lower(*structs).compile().as_text() or ""
        types = dict(re.findall(r"(%[\w.\-]+) = (\w+)\[", program))
        for operands in re.findall(r" dot\(([^)]*)\)", program):
            assert {types[operand.split()[-1]] for operand in operands.split(",")} <= {"f32"}, name
        tried += 1
    assert tried > 4


def problem(layer, direction, dtype, there):
    """lax's function and its operands, on the device."""
    f, structs = by_jax.function(Job("kinds", None, "", layer, direction, dtype, "NHWC"))
    return f, [jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=there) for each in structs]


@pytest.mark.parametrize("direction", DIRECTIONS[:2])
def test_dilated_kernels_are_not_written_out(direction, there):
    """As lax's of causal layers are, which are 9 taps there instead of 2."""
    f, placed = problem(Layer(2, 16, (64,), 32, 2, padding=(8, 0), dilation=8), direction, "float32", there)
    theirs, ours = (jax.jit(each).lower(*placed).compile().as_text() or "" for each in (f, jaxconv.accelerate(f)))
    assert "window={size=9}" in theirs, "XLA has learnt it"
    assert "window={size=2 rhs_dilate=8" in ours and "window={size=9}" not in ours


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layer", KINDS)
def test_what_is_chosen_compiles(layer, dtype, there):
    """In real size and all directions, and beside it the others that an `autotune` would try first."""
    for direction in DIRECTIONS:
        f, placed = problem(KINDS[layer], direction, dtype, there)
        for name in (None, "im2col", "kn2row", "depthwise"):
            try:
                ours = by_jax.by_algorithm(name, f, placed) if name else jaxconv.accelerate(f)
            except CannotError:
                continue
            assert jax.jit(ours).lower(*placed).compile().memory_analysis() is not None
