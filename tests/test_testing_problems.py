"""The problems that the conformance kit draws, and their operands: as narrow as is asked for."""

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis.errors import NoSuchExample
from wrong_convolutions import right

from jaxconv.testing import Problem, check, problems


def test_a_narrow_convolution_is_tried_on_what_it_takes():
    def only_this(lhs, rhs, window_strides, padding, dimension_numbers, **rest):
        assert dimension_numbers == ("NHWC", "HWIO", "NHWC") and window_strides == (1, 1) and lhs.size
        assert set(rest.values()) <= {None, 1}
        return right(lhs, rhs, window_strides, padding, dimension_numbers=dimension_numbers)

    narrow = problems(
        ndim=2,
        groups=False,
        empty=False,
        strides=False,
        lhs_dilation=False,
        rhs_dilation=False,
        preferred_element_type=False,
        layouts=(("NHWC", "HWIO", "NHWC"),),
    )
    check(only_this, narrow, checks=["value", "gradient"], max_examples=5)


def test_taps_are_drawn_from_those_given():
    some = problems(ndim=1, layouts=(("NWC", "WIO", "NWC"),), taps=(3, 1, 6))
    for taps in (1, 3, 6):
        assert hypothesis.find(some, lambda problem, taps=taps: problem.rhs_shape[0] == taps)
    with pytest.raises(NoSuchExample):
        hypothesis.find(some, lambda problem: problem.rhs_shape[0] not in (1, 3, 6))
    assert hypothesis.find(some, lambda problem: True).rhs_shape == (3, 1, 1)


def test_operands_are_the_seeds():
    """The same whenever they are asked for; in half of the problems without signs, so that sums grow."""
    signs = set()
    for seed in range(8):
        problem = Problem((2, 3, 4), (3, 3, 2), (1,), "SAME", dtype="complex64", seed=seed)
        once, again = problem.operands(), problem.operands()
        assert all(map(np.array_equal, once, again))
        signs |= {bool((np.minimum(x.real, x.imag) < 0).any()) for x in once}
    assert signs == {False, True}


def test_64_bit_types_need_to_be_switched_on():
    with jax.enable_x64(False):
        for dtype in ("float64", "complex128", "int64", "uint64"):
            with pytest.raises(ValueError, match=f"^problems dtypes .*jax_enable_x64.*, got .*'{dtype}'"):
                problems(dtypes=("float32", dtype))
            with pytest.raises(ValueError, match=f"^Problem dtype .*jax_enable_x64.*, got '{dtype}'"):
                Problem((1, 1, 3), (1, 1, 1), (1,), "VALID", dtype=dtype).operands()


@pytest.mark.parametrize("arguments, said", [
    ({"layouts": (("NHWC", "HWIO", "NHWC"),)}, r"^problems layouts need ndim, .*got .*'NHWC'"),
    ({"layouts": (("NHWC", "HWIO", "NHWC"),), "ndim": 1}, r"^problems layouts must .*'NCW', 'OIW'.*got .*'NHWC'"),
    ({"taps": ()}, r"^problems taps must .*got \(\)"),
    ({"taps": (3, 0)}, r"^problems taps must .*got \(3, 0\)"),
])  # fmt: skip
def test_what_problems_cannot_be_drawn_from(arguments, said):
    with pytest.raises(ValueError, match=said):
        problems(**arguments)
