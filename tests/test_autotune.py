"""What autotune measures, in which order and until when; what it cannot measure; and what its plan is good for."""

import sys

import jax
import numpy as np
import pytest
from marks import on_cpu
from plans import LHS, RHS, conv, step
from plans import tuned as tuned

import jaxconv
from jaxconv import _autotune
from jaxconv._collect import convolutions
from jaxconv._plan_file import Tuned
from jaxconv._settings import current


def test_autotune_measures_each_distinct_convolution_once(tuned):
    found = convolutions(step, LHS, RHS)
    assert len(found) == 5 and {each.role for each in found} == {"forward", "input gradient", "weight gradient"}
    assert set(tuned.convolutions) == {each.geometry for each in found} and len(tuned.convolutions) < len(found)
    for each in tuned.convolutions.values():
        assert "xla" in each.seconds and set(each.seconds) == set(each.errors)
        assert each.seconds[each.algorithm] == min(each.seconds.values())
        assert all(error < 10 for error in each.errors.values())


def test_in_a_plan_results_stay(tuned):
    expected = jax.jit(step)(LHS, RHS)
    with tuned:
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, 1e-4),
            jax.jit(jaxconv.accelerate(step))(LHS, RHS),
            expected,
        )


def test_a_plan_that_says_nothing_of_accuracy_and_memory_keeps_what_is_current(tuned):
    assert (tuned.accuracy, tuned.max_workspace_bytes) == (None, None)
    with jaxconv.policy(accuracy="strict", max_workspace_bytes=2**20):
        before = current()
        with tuned:
            assert current()._replace(plan=None) == before
    fast = jaxconv.autotune(conv, LHS, RHS, seconds=60, accuracy="fast", max_workspace_bytes=2**22, progress=False)
    assert (fast.accuracy, fast.max_workspace_bytes) == ("fast", 2**22)


def test_interrupted_it_keeps_what_it_has(monkeypatch):
    calls = []

    def tune(geometry, *_):
        calls.append(geometry)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Tuned("xla", {"xla": 1.0}, {"xla": 0.0})

    monkeypatch.setattr(_autotune, "tune", tune)
    with pytest.warns(UserWarning, match="interrupted, 2 of 3 convolutions are left to the cost model"):
        assert len(jaxconv.autotune(step, LHS, RHS, progress=False).convolutions) == 1


def test_one_that_cannot_be_measured_is_left_to_the_cost_model(monkeypatch):
    calls, tune = [], _autotune.tune

    def failing(geometry, *more):
        calls.append(geometry)
        if len(calls) == 2:
            raise MemoryError("no room for 80 GB")
        return tune(geometry, *more)

    monkeypatch.setattr(_autotune, "tune", failing)
    with pytest.warns(UserWarning, match="is left to the cost model, it cannot be measured: no room for 80 GB"):
        plan = jaxconv.autotune(step, LHS, RHS, progress=False)
    assert {*plan.convolutions} == {*calls} - {calls[1]} and len(calls) == 3


def test_it_ends_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(_autotune, "tune", lambda geometry, *_: Tuned("xla", {"xla": 1.0}, {}))
    with pytest.warns(UserWarning, match="0 seconds are over, 3 of 3 convolutions are left"):
        assert not jaxconv.autotune(step, LHS, RHS, seconds=0, progress=False).convolutions


def test_what_asks_for_an_algorithm_is_not_measured():
    def f(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", algorithm="im2col")

    assert not jaxconv.autotune(f, LHS, RHS, progress=False).convolutions


def test_arguments_of_any_name():
    """Of the function that is tuned, or explained."""

    def step(lhs, *, f, args):
        return conv(lhs, f)

    given = {"f": RHS, "args": None}
    assert len(jaxconv.explain(step, LHS, **given).rows) == 1
    with pytest.warns(UserWarning, match="0 seconds are over"):
        jaxconv.autotune(step, LHS, **given, seconds=0, progress=False)


@on_cpu
def test_what_runs_often_comes_first(monkeypatch):
    def program(one, four, rhs):
        often = jax.lax.scan(lambda total, _: (total + conv(one, rhs).sum(), None), 0.0, length=1000)[0]
        return often + conv(four, rhs).sum()

    order = []
    monkeypatch.setattr(_autotune, "tune", lambda geometry, *_: order.append(geometry.batch))
    operands = [jax.ShapeDtypeStruct((images, 3, 32, 32), "float32") for images in (1, 4)]
    jaxconv.autotune(program, *operands, jax.ShapeDtypeStruct((16, 3, 3, 3), "float32"), progress=False)
    assert order == [1, 4]


@on_cpu
def test_it_begins_with_what_takes_longest(monkeypatch):
    def program(small, large, rhs):
        return conv(small, rhs).sum() + conv(large, rhs).sum() + conv(small.astype("uint8"), rhs.astype("uint8")).sum()

    order = []
    monkeypatch.setattr(_autotune, "tune", lambda geometry, *_: order.append(geometry))
    operands = [jax.ShapeDtypeStruct((images, 3, 32, 32), "float32") for images in (1, 64)]
    jaxconv.autotune(program, *operands, jax.ShapeDtypeStruct((16, 3, 3, 3), "float32"), progress=False)
    assert [(geometry.batch, geometry.dtype) for geometry in order] == [(1, "uint8"), (64, "float32"), (1, "float32")]


def test_the_bar_is_shown_where_it_is_wanted(monkeypatch, capsys):
    monkeypatch.setattr(_autotune, "tune", lambda geometry, *_: Tuned("xla", {"xla": 1.0}, {}))
    jaxconv.autotune(step, LHS, RHS, progress=True)
    assert "autotune" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert jaxconv.autotune(step, LHS, RHS).convolutions
    with pytest.raises(ImportError, match="pip install 'jaxconv"):
        jaxconv.autotune(step, LHS, RHS, progress=True)
