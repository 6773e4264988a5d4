"""Cutting a convolution into chunks changes nothing but memory."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxconv._accuracy import ERROR_FACTOR
from jaxconv._algorithms import looped, winograd
from jaxconv._chunk import choose_chunk, needed, whole
from jaxconv._chunks import chunked
from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem, problems

DTYPES = ("float32", "bfloat16", "complex64")
CUT = {"looped": (looped.KERNEL, looped.ALGORITHM), "winograd2": (winograd.KERNELS[2], winograd.F2)}
LIMITS = {"looped": {}, "winograd2": {"strides": False, "lhs_dilation": False, "taps": (3, 3, 1)}}


def violation(name, problem, bound):
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    out = jax.jit(lambda lhs, rhs: CUT[name][1].convolve(lhs, rhs, geometry, bound))(lhs, rhs)
    normwise = name == "winograd2"
    return problem.violation(out, lhs, rhs, ERROR_FACTOR[name] if normwise else 1.0, normwise)


@pytest.mark.parametrize("name", CUT)
@given(data=st.data(), bound=st.sampled_from([500, 2000, 5000]))
def test_values_do_not_depend_on_the_chunks(name, data, bound):
    dtypes = DTYPES if name == "winograd2" else (*DTYPES, "int8")
    problem = data.draw(problems(data.draw(st.sampled_from([1, 2])), dtypes=dtypes, empty=False, **LIMITS[name]))
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    assume(geometry.macs and not CUT[name][1].unsupported(geometry))
    assert not violation(name, problem, bound)


def nhwc(lhs_shape, rhs_shape, padding: Any = "SAME"):
    numbers = {4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}[len(lhs_shape)]
    return Problem(lhs_shape, rhs_shape, (1,) * (len(lhs_shape) - 2), padding, dimension_numbers=numbers)


# What is cut of images, rows, columns and outputs, and the bound that makes it so.
KINDS = {
    "nothing": (nhwc((5, 9, 8, 3), (3, 3, 3, 7)), 10**6, (False, False, False, False)),
    "images": (nhwc((5, 9, 8, 3), (3, 3, 3, 7)), None, (True, False, False, False)),
    "rows": (nhwc((1, 37, 8, 3), (3, 3, 3, 7), ((2, 1), (0, 2))), None, (False, True, False, False)),
    "outputs": (nhwc((1, 1, 64, 1), (3, 3, 1, 37)), None, (False, False, False, True)),
    "all": (nhwc((3, 13, 8, 6), (3, 3, 6, 37)), 500, (True, True, False, True)),
    "rows, cropped": (nhwc((1, 37, 8, 3), (3, 3, 3, 7), ((-3, 2), (1, -2))), None, (False, True, False, False)),
}


def bound_for(geometry, kernel, kinds):
    """The largest bound under which exactly these are cut."""
    everything = whole(geometry)
    bound = needed(geometry, kernel, everything)
    while bound > 100:
        chunk = choose_chunk(geometry, kernel, bound)
        if chunk and tuple(part < size for part, size in zip(chunk, everything, strict=True)) == kinds:
            return bound
        bound = bound * 7 // 8
    return None


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("problem, bound, kinds", KINDS.values(), ids=KINDS)
def test_each_kind_of_cut(name, problem, bound, kinds, dtype):
    problem = replace(problem, dtype=dtype)
    kernel, geometry = CUT[name][0], geometry_of(*problem.operands(), **problem.arguments)
    if bound is None:
        bound = bound_for(geometry, kernel, kinds)
        assert bound, "no bound cuts just these"
    elif bound > 500:
        assert choose_chunk(geometry, kernel, bound) == whole(geometry)
    assert not violation(name, problem, bound)


def test_what_is_cropped_takes_no_part():
    """Not even where a tile of outputs is larger than what is left."""
    lhs, rhs = jnp.ones((1, 1, 9)).at[..., 7:].set(jnp.nan), jnp.ones((1, 1, 3))
    geometry = geometry_of(lhs, rhs, (1,), [(0, -2)])
    for algorithm in (winograd.F2, winograd.F4):
        for bound in (10**6, 100):
            out = algorithm.convolve(lhs, rhs, geometry, bound)
            np.testing.assert_allclose(out, np.full((1, 1, 5), 3.0), 1e-12)


VOLUMES = {
    "rows and columns": (nhwc((1, 11, 14, 5, 3), (3, 3, 3, 3, 4)), (False, True, True, False)),
    "columns": (nhwc((1, 1, 29, 5, 3), (1, 3, 3, 3, 4), ((0, 0), (1, 0), (0, 2))), (False, False, True, False)),
    "columns, cropped": (
        nhwc((1, 1, 29, 6, 3), (1, 3, 1, 3, 4), ((0, 0), (-2, -1), (1, 0))),
        (False, False, True, False),
    ),
    "all": (nhwc((3, 9, 12, 4, 6), (3, 3, 3, 6, 37)), (True, True, True, True)),
}


@pytest.mark.parametrize("problem, kinds", VOLUMES.values(), ids=VOLUMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_planes_of_volumes_are_cut_by_winograd_alone(problem, kinds, dtype):
    problem = replace(problem, dtype=dtype)
    geometry = geometry_of(*problem.operands(), **problem.arguments)
    bound = bound_for(geometry, winograd.KERNELS[2], kinds)
    assert bound, "no bound cuts just these"
    assert not violation("winograd2", problem, bound)
    assert not bound_for(geometry, looped.KERNEL, kinds)


@pytest.mark.parametrize("matrix", range(3))
@pytest.mark.parametrize("outputs", [2, 4])
def test_a_wrong_sign_in_a_transform_is_found(monkeypatch, matrix, outputs):
    problem = Problem((1, 2, 9, 9), (3, 2, 3, 3), (1, 1), "SAME", dtype="float64")
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    right = winograd.transforms(outputs, 3)
    for row in range(len(right[matrix])):
        wrong = [[list(line) for line in each] for each in right]
        wrong[matrix][row][-2] = -wrong[matrix][row][-2] or 1.0
        with monkeypatch.context() as patch:
            patch.setattr(winograd, "transforms", lambda *_, wrong=wrong: wrong)
            out = chunked(winograd.kernel(outputs)).convolve(lhs, rhs, geometry)
        assert problem.violation(out, lhs, rhs, ERROR_FACTOR[f"winograd{outputs}"], normwise=True)
