"""Each of the forms that elementwise multiply-adds take is a convolution by itself, chosen or not."""

from types import SimpleNamespace

import jax
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxconv._algorithms import _runs, depthwise, dual, looped, written_out
from jaxconv._cut import choose_summands, needed, summed
from jaxconv._parameters import geometry_of
from jaxconv._phases import axis_phases
from jaxconv.testing import Problem, problems

WHOLE = SimpleNamespace(ALGORITHM=dual.WHOLE)
FORMS = {"written out": written_out, "looped": looped, "dual": dual, "dual, whole": WHOLE}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
DTYPES = ("float32", "int8", "bfloat16", "complex64")


def violation(form, problem):
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    out = jax.jit(lambda lhs, rhs: form.ALGORITHM.convolve(lhs, rhs, geometry))(lhs, rhs)
    return problem.violation(out, lhs, rhs)


@every_form
@given(data=st.data())
def test_values(form, data):
    problem = data.draw(problems(dtypes=DTYPES, taps=(1, 2, 3, 4, 7), max_macs=10_000))
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    assume(geometry.macs and lhs.size and not form.ALGORITHM.unsupported(geometry))
    assert not violation(form, problem)


# One of each kind: more products than are written out in one go, cropped, dilated, images far apart, rows looped over.
FIXED = {
    "many taps": Problem((2, 6, 20, 20), (6, 1, 7, 7), (1, 1), "SAME", feature_group_count=6),
    "rows of taps": Problem((1, 2, 3, 40), (2, 1, 3, 33), (1, 2), "SAME", feature_group_count=2, dtype="int8"),
    "cropped": Problem((2, 4, 9, 9), (4, 1, 3, 3), (2, 1), ((-2, 3), (1, -3)), feature_group_count=4),
    "dilated": Problem(
        (1, 4, 6, 5), (8, 2, 3, 4), (2, 1), ((3, 2), (0, 4)), (3, 2), (2, 1), feature_group_count=2, dtype="complex64"
    ),
    "nothing but padding": Problem((1, 2, 2), (2, 1, 2), (3,), ((5, 6),), feature_group_count=2),
    "channels last": Problem(
        (2, 8, 9, 6), (3, 3, 1, 6), (2, 2), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=6, dtype="bfloat16",
    ),
    "few outputs": Problem(
        (2, 3, 30, 34), (6, 2, 28, 32), (1, 1), "VALID", dimension_numbers=("CNHW", "OIHW", "NCHW")
    ),
    "short rows": Problem(
        (3, 12, 13, 6), (12, 7, 3, 6), (1, 2), ((1, 1), (3, 2)), None, (1, 2),
        dimension_numbers=("CHWN", "HWIO", "NHWC"), batch_group_count=6,
    ),
    "cropped, and padding alone": Problem(
        (3, 7, 9, 4), (6, 4, 3, 4), (2, 5), ((-2, 3), (9, -1)), dimension_numbers=("CHWN", "HWIO", "NHWC"),
        batch_group_count=4, dtype="bfloat16",
    ),
    "weight gradient": Problem(
        (2, 40, 40, 6), (38, 38, 2, 6), (1, 1), "VALID",
        dimension_numbers=("CHWN", "HWIO", "NHWC"), batch_group_count=6,
    ),
}  # fmt: skip


@every_form
@pytest.mark.parametrize("problem", FIXED.values(), ids=FIXED)
def test_one_of_each_kind(form, problem):
    lhs, rhs = problem.operands()
    if form.ALGORITHM.unsupported(geometry_of(lhs, rhs, **problem.arguments)):
        assert form in (written_out, WHOLE)
    else:
        assert not violation(form, problem)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("stride", [1, 2])
def test_weight_gradients_of_some_images_or_rows_at_a_time(dtype, stride):
    problem = Problem(
        (6, 40, 12, 4), (6, 36, 5, 5), (stride, 1), ((2, 1), (0, 2)), None, (1, stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"), dtype=dtype,
    )  # fmt: skip
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    for images, rows in ((2, 36), (1, 6)):
        bound = needed(geometry, summed(geometry, images, rows), dual.workspace, dual.CUT)
        part = choose_summands(geometry, dual.workspace, bound, dual.CUT)
        assert part and (part.in_channels, part.kernel[0]) == (images, rows)
        out = jax.jit(lambda lhs, rhs, bound=bound: dual.ALGORITHM.convolve(lhs, rhs, geometry, bound))(lhs, rhs)
        assert not problem.violation(out, lhs, rhs)


def test_the_forms_meet_what_they_are_for():
    def geometry(name):
        return geometry_of(*FIXED[name].operands(), **FIXED[name].arguments)

    assert dual.WHOLE in depthwise.ways(geometry("weight gradient"))
    assert depthwise.way(geometry("weight gradient"), 2**24) is dual.ALGORITHM  # its rows are long
    assert depthwise.way(geometry("short rows"), 2**24) is dual.WHOLE
    assert depthwise.way(geometry("short rows"), dual.WHOLE.workspace(geometry("short rows")) - 1) is dual.ALGORITHM
    assert depthwise.ways(geometry("cropped"))[0] is written_out.ALGORITHM
    taps = geometry("many taps")
    assert not written_out.ALGORITHM.unsupported(taps)
    assert _runs.terms(taps, axis_phases(taps), 0) > _runs.MAX_TERMS  # so rows at the ends are padded


def test_a_tap_or_a_phase_off_by_one_is_found(monkeypatch):
    problem = FIXED["dilated"]
    for form in (written_out, looped):
        right = form.axis_phases
        for wrong in ({"low": 1}, {"first": 1}, {"stride": 1}):

            def moved(geometry, right=right, wrong=wrong):
                every = right(geometry)
                change = {name: getattr(every[0][0], name) + step for name, step in wrong.items()}
                return [[every[0][0]._replace(**change), *every[0][1:]], *every[1:]]

            with monkeypatch.context() as patch:
                patch.setattr(form, "axis_phases", moved)
                try:
                    found = violation(form, problem)
                except (TypeError, ValueError, IndexError):
                    found = "shapes"
                assert found, (form, wrong)
        assert not violation(form, problem)
