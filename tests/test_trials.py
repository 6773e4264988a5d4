"""Timing the algorithms of one convolution: what is left out, for what reason, and what is said of the others."""

import math
import warnings
from collections import Counter
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from marks import on_cpu, where_lax_has_all

import jaxconv
from jaxconv import _cost, _trials
from jaxconv._parameters import geometry_of
from jaxconv._sampled import Errors, errors_of, random_operands, sampled
from jaxconv._settings import Settings
from jaxconv.testing import problems

LHS, RHS = jax.ShapeDtypeStruct((2, 3, 8, 8), "float32"), jax.ShapeDtypeStruct((4, 3, 3, 3), "float32")
GEOMETRY = geometry_of(LHS, RHS, (1, 1), "SAME")
NAMES = ["xla", "im2col", "kn2row"]


def exchanged(monkeypatch, name, convolve):
    """The algorithm of this name computes so."""
    monkeypatch.setitem(jaxconv.ALGORITHMS, name, jaxconv.ALGORITHMS[name]._replace(convolve=convolve))


@given(problems(dtypes=("float32", "int8", "complex64", "bool"), empty=False, max_macs=2_000))
def test_a_wrong_result_is_seen_in_the_sample(problem):
    geometry = geometry_of(*problem.operands(), **problem.arguments)
    lhs, rhs = random_operands(geometry)
    out, sample = np.asarray(problem.lax(lhs, rhs)), sampled(lhs, rhs, geometry)
    assert max(errors_of(out, sample, geometry)) < 20
    if out.size and geometry.macs and out.any():
        wrong = ~out if out.dtype == bool else -out
        assert errors_of(wrong, sample, geometry).componentwise > 0.5


@pytest.mark.parametrize("dtype", ["bool", "int4", "uint8", "int32"])
def test_whole_numbers_are_right_or_wrong(dtype):
    """Sums that wrap, or saturate, are right."""
    operands = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((2, 80, 9, 9), (3, 80, 5, 5)))
    geometry = geometry_of(*operands, (1, 1), "SAME")
    lhs, rhs = random_operands(geometry)
    with where_lax_has_all():
        out = jax.lax.conv_general_dilated(jnp.asarray(lhs), jnp.asarray(rhs), (1, 1), "SAME")
    sample = sampled(lhs, rhs, geometry)
    assert errors_of(out, sample, geometry) == (0, 0)
    wrong = errors_of(jnp.zeros_like(out), sample, geometry)
    assert not _trials.agrees("im2col", wrong, errors_of(out, sample, geometry), geometry)


@pytest.mark.parametrize("value", [0.0, jnp.nan, jnp.inf])
def test_what_is_not_as_near_as_it_should_be_is_left_out(monkeypatch, value):
    exchanged(monkeypatch, "im2col", lambda lhs, rhs, g, bound: jnp.full(g.out_layout.shape, value, g.out_dtype))
    with pytest.warns(UserWarning, match="im2col is not measured for 2x8x8 3->4 3x3: its results are not as near"):
        seconds, errors = _trials.measured(GEOMETRY, NAMES, Settings())
    assert [*seconds] == [*errors] == ["xla", "kn2row"]


def test_what_fails_on_the_device_is_left_out(monkeypatch):
    def fail(*operands):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no memory left")

    exchanged(monkeypatch, "im2col", fail)
    with pytest.warns(UserWarning, match="im2col is not measured for .*no memory left"):
        seconds, errors = _trials.measured(GEOMETRY, NAMES, Settings())
    assert [*seconds] == [*errors] == ["xla", "kn2row"]
    with (
        pytest.warns(UserWarning, match="no memory"),
        pytest.raises(jax.errors.JaxRuntimeError, match="no memory left"),
    ):
        _trials.measured(GEOMETRY, ["im2col"], Settings())


def test_the_best_of_some_is_no_choice(monkeypatch):
    """Where time is over before all were tried."""
    clock, begun = iter(range(10)), []
    monkeypatch.setattr(_trials, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    exchanged(monkeypatch, "im2col", lambda lhs, rhs, g, bound: begun.append("im2col"))
    with pytest.raises(_trials.TimeOverError), pytest.warns(UserWarning, match="im2col is not measured"):
        _trials.measured(GEOMETRY, NAMES, Settings(), 1)
    assert begun == ["im2col"]


def test_where_nothing_may_be_taken():
    with pytest.raises(ValueError, match="no algorithm that may be taken"):
        _trials.measured(GEOMETRY, [], Settings())


def test_one_slow_call_leaves_nobody_out(monkeypatch):
    """The first of all but one takes long, as where other work gets in between."""
    calls: Counter[int] = Counter()

    def clocked(call):
        calls[id(call)] += 1
        return 1e-3 if calls[id(call)] == 1 < len(calls) else 1e-5

    monkeypatch.setattr(_trials, "clocked", clocked)
    _trials.measured(GEOMETRY, NAMES, Settings())
    assert len(calls) == 3 and min(calls.values()) > _trials.FIRST_CALLS


def test_far_from_what_is_not_padding_there_are_errors_too():
    """Those of a Fourier transform, where all magnitudes are zero."""
    operands = (jnp.ones(shape, "float32") for shape in ((1, 4, 24, 24), (4, 4, 9, 9)))
    geometry = geometry_of(*operands, (1, 1), [(12, 12)] * 2)
    _, errors = _trials.measured(geometry, ["xla", "fft"], Settings("fast"))
    assert 0 < errors["fft"] < 100


def test_operands_are_of_their_own_types():
    """Those of 64 bits, too, whatever is switched on around."""
    geometry = geometry_of(*(jnp.ones(shape, "float64") for shape in (LHS.shape, RHS.shape)), (1, 1), "SAME")
    with jax.enable_x64(False):
        _, errors = _trials.measured(geometry, NAMES, Settings())
    assert 0 < max(errors.values()) < 10


@on_cpu
def test_the_most_promising_are_tried_first():
    names = _trials.candidates(GEOMETRY, Settings())
    times = [_cost.predict(name, GEOMETRY) or math.inf for name in names[1:]]
    assert names[0] == "xla" and times[2] < math.inf and times == sorted(times)


def test_they_are_measured_within_the_memory_that_they_may_take(monkeypatch):
    bounds, real = set(), jaxconv.ALGORITHMS["im2col"].convolve
    exchanged(monkeypatch, "im2col", lambda lhs, rhs, g, bound: bounds.add(bound) or real(lhs, rhs, g, bound))
    _trials.measured(GEOMETRY, ["xla", "im2col"], Settings(max_workspace_bytes=20_000))
    assert bounds == {20_000}


def test_how_far_off_results_may_be():
    """As far as is promised of sums of 27 products, or four times as far as lax's."""
    promised = 1 + math.sqrt(27)
    for factor, fine in ((0.9, True), (1.1, False)):
        for most, of_lax in ((promised, 0.5), (4 * 10.0, 10.0)):
            own, lax = Errors(factor * most, factor * most), Errors(of_lax, of_lax)
            assert _trials.agrees("im2col", own, lax, GEOMETRY) == fine


def test_times_are_medians(monkeypatch):
    seconds = iter([2.0, 2.0, 50.0])
    monkeypatch.setattr(_trials, "clocked", lambda call: next(seconds))
    assert _trials.in_turns({"xla": lambda: None}, {"xla": 1.0}, math.inf) == {"xla": 2.0}


@on_cpu
def test_what_is_hopeless(monkeypatch):
    times = {"xla": 1.0, "im2col": 19.0, "kn2row": 21.0}
    monkeypatch.setattr(_cost, "predict", lambda name, geometry: times.get(name))
    names = _trials.candidates(GEOMETRY, Settings())
    assert "im2col" in names and "kn2row" not in names


def conv(lhs, rhs):
    return jax.lax.conv(lhs, rhs, (1, 1), "SAME")


@on_cpu
@pytest.mark.parametrize("around", [jax.jit, jax.grad, lambda f: jax.vmap(lambda x: f(x[None]))])
def test_within_what_is_traced_it_measures_all_the_same(around):
    plans = []

    def f(x):
        plans.append(jaxconv.autotune(conv, LHS, RHS, seconds=60, progress=False))
        return x.sum()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        around(f)(jnp.ones((3,)))
        with jax.disable_jit():
            f(jnp.ones((3,)))
    assert [len(plan.convolutions) for plan in plans] == [1, 1]


@pytest.mark.parametrize("seconds", [-1, math.nan, "5", None])
def test_seconds_that_are_none(seconds):
    with pytest.raises(ValueError, match=f"autotune seconds must be a number of 0 or more, got {seconds!r}"):
        jaxconv.autotune(conv, LHS, RHS, seconds=seconds)
