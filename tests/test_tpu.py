"""XLA compiles every algorithm for a TPU, ahead of time, on a machine without one: `make test-tpu`.

A layer of each kind, the first that an algorithm takes in each direction, in real size: what needs more memory than a
TPU has does not compile. All layers by all algorithms are `python -m benchmarks.ahead_of_time`."""

import importlib.util
from typing import Any

import jax
import pytest
from jax.sharding import Mesh, SingleDeviceSharding

import jaxconv
from benchmarks.ahead_of_time import programs
from benchmarks.scaling import programs as steps
from benchmarks.scaling.__main__ import EFFORT
from benchmarks.scaling.layouts import Layout
from benchmarks.scaling.model import cost
from benchmarks.scaling.networks import Network, training_step
from jaxconv import ALGORITHMS
from jaxconv._algorithm import MAX_WORKSPACE_BYTES
from jaxconv._bench import by_jax
from jaxconv._bench.job import DIRECTIONS, CannotError, Job
from jaxconv._bench.suites import KINDS

pytestmark = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu: make test-tpu")
WEIGHT_GRADIENTS_ONLY, NO_WEIGHT_GRADIENTS = ("strips",), ("col2im",)
CASES = [
    (name, direction)
    for name in ALGORITHMS
    for direction in DIRECTIONS
    if not (name in NO_WEIGHT_GRADIENTS and direction == "weight-grad")
    and not (name in WEIGHT_GRADIENTS_ONLY and direction != "weight-grad")
]


def first_taken(algorithm, direction, dtype):
    """The job of the first layer that the algorithm takes."""
    for name, layer in KINDS.items():
        job = Job("kinds", None, name, layer, direction, dtype, "NHWC")
        try:
            by_jax.by_algorithm(algorithm, *by_jax.function(job))
        except CannotError:
            continue
        return job
    pytest.fail(f"{algorithm} takes no {direction}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("algorithm, direction", CASES)
def test_every_algorithm_compiles(algorithm, direction, dtype):
    with jax.enable_x64(False):
        job = first_taken(algorithm, direction, dtype)
        found = programs.estimate(algorithm, job, MAX_WORKSPACE_BYTES)
    assert found["flops"] > 0 and found["bytes"] > 0 and found["temporaries"] < 2**30
    if algorithm == "xla":  # lax's own program
        assert found["loops"] == 0 and found["flops"] == 2 * job.layer.products


@pytest.mark.parametrize("dtype", ["bool", "int4", "int8", "uint8", "int32", "float16", "float64", "complex64"])
@pytest.mark.parametrize("algorithm", [None, "kn2row"])
def test_other_types_compile(algorithm, dtype):
    """So what the chooser leaves to lax there, integers too, lax can do."""
    there = SingleDeviceSharding(programs.device())
    lhs, rhs = (jax.ShapeDtypeStruct(shape, dtype, sharding=there) for shape in ((2, 4, 9, 8), (6, 4, 3, 3)))

    def conv(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", algorithm=algorithm)

    costs: Any = jax.jit(conv).lower(lhs, rhs).compile().cost_analysis()
    assert costs["flops"] > 0


@pytest.mark.parametrize("layout", [Layout(1, (2, 2)), Layout(4, (2, 2))], ids=str)
@pytest.mark.parametrize("contestant", ["accelerate", "spatial"])
def test_training_steps_send_what_the_model_says(contestant, layout):
    """To the byte: each of few collectives rounds down what a chip sends."""
    network, slice_ = Network(2, 32, (8, 16), 3, 2), "2x2" if layout.data == 1 else "4x4"
    with jax.enable_x64(False):
        found = steps.estimate(contestant, network, slice_, layout, EFFORT)  # with more, XLA sums in narrower types
    sent = {kind: each["sent"] for kind, each in found["collectives"].items()}
    expected = cost(network, layout, contestant)
    assert set(sent) == {"collective-permute", "all-reduce"} and sent["collective-permute"] == expected.halos
    assert 0 <= expected.gradients - sent["all-reduce"] <= found["collectives"]["all-reduce"]["instructions"]


def test_automatic_axes_compile():
    """XLA for TPUs asks nobody how to partition: what it is given must not have the question in it."""
    network, chips = Network(2, 16, (4, 8), 1, 2), steps.chips("2x2", Layout(1, (2, 2)))
    where = Mesh(chips, steps.AXES, axis_types=steps.axis_types("lax"))
    step = jax.jit(jaxconv.accelerate(training_step(network, jax.lax.conv_general_dilated, jax.numpy.mean)))
    with jax.enable_x64(False):
        compiled = step.lower(*steps.operands(network, 1, where)).compile()
    assert "collective-permute" in (compiled.as_text() or "")
