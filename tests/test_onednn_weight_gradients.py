"""Weight gradients by oneDNN, in one part and in several."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bounds import bound_for
from jax import lax
from marks import needs_onednn
from onednn_calls import CHANNELS_LAST, NHWC

import jaxconv
from jaxconv._algorithms import ALGORITHMS, _onednn_call
from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem

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


OF_MANY_INPUTS = {
    "gradient": Problem(
        (3, 11, 10, 40), (3, 9, 8, 5), (1, 1), ((0, 0), (0, 0)), dimension_numbers=("CHWN", "IHWO", "HWNC")
    ),
    "usual": Problem((40, 3, 11, 10), (5, 3, 9, 8), (1, 1), ((0, 0), (0, 0))),
    "planes": Problem(
        (2, 3, 7, 6, 33), (2, 3, 7, 6, 4), (1,) * 3, ((1, 1),) * 3, dimension_numbers=("CDHWN", "IDHWO", "DHWNC")
    ),
    "planes, usual": Problem((33, 2, 3, 7, 6), (4, 2, 3, 7, 6), (1,) * 3, ((1, 1),) * 3),
}


@needs_onednn
@pytest.mark.parametrize("dtype, result", [("float32", None), ("bfloat16", None), ("bfloat16", "float32")])
@pytest.mark.parametrize("problem", OF_MANY_INPUTS.values(), ids=OF_MANY_INPUTS)
def test_of_some_inputs_at_a_time(problem, dtype, result):
    """Where even the least part of the sum for all of them takes too much."""
    problem = replace(problem, dtype=dtype, preferred_element_type=result)
    lhs, rhs = problem.operands()
    geometry, onednn = geometry_of(lhs, rhs, **problem.arguments), ALGORITHMS["onednn"]
    bound = bound_for(onednn, geometry, geometry.in_channels * geometry.kernel[0])
    assert not onednn.unsupported(geometry, bound)
    f = jax.jit(lambda lhs, rhs: onednn.convolve(lhs, rhs, geometry, bound))
    assert "stablehlo.convolution" not in f.lower(lhs, rhs).as_text()
    assert not problem.violation(f(lhs, rhs), lhs, rhs)


@needs_onednn
def test_weight_gradients_of_groups_are_left_to_others():
    lhs, rhs = jnp.ones((2, 12, 12, 8), "float32"), jnp.ones((3, 3, 4, 8), "float32")
    asked = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, "feature_group_count": 2}
    f = jax.grad(lambda rhs: jaxconv.conv_general_dilated(lhs, rhs, **asked, algorithm="onednn").sum())
    row = jaxconv.explain(f, rhs).rows[-1]
    assert row.algorithm == "xla" and "its groups have one output channel, and here 4" in row.why
