"""What holds inside a plan: which algorithm is taken, in which thread, on which device, and where it is not used."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from marks import on_cpu
from plans import LHS, RHS, conv, plan_of, ran, step

import jaxconv
from jaxconv._collect import convolutions
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned
from jaxconv._select import choose
from jaxconv._settings import Request, Settings


def test_entering_and_leaving_retraces():
    f = jax.jit(jaxconv.accelerate(conv))
    seen = []
    for algorithm in ("im2col", "kn2row"):
        with plan_of(algorithm):
            seen.append(ran(f, LHS, RHS))
            f(LHS, RHS)
    assert seen == [["im2col"], ["kn2row"]]
    assert ran(jaxconv.accelerate(conv), LHS, RHS) == ran(f, LHS, RHS)


def test_an_eager_call_goes_by_the_plan():
    plan = plan_of("im2col")
    with plan:
        assert ran(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME"), LHS, RHS) == ["im2col"]
        assert jaxconv.conv_general_dilated(LHS, RHS, (1, 1), "SAME").shape == (2, 4, 8, 8)


def test_inside_another_plan_the_inner_one_goes_first():
    small = jnp.ones((1, 3, 5, 5), "float32")
    outer, inner = plan_of("im2col") | plan_of("im2col", small, RHS), plan_of("kn2row")
    f = jaxconv.accelerate(conv)
    with outer:
        with inner:
            assert ran(f, LHS, RHS) == ["kn2row"]
            assert ran(f, small, RHS) == ["im2col"]
        assert ran(f, LHS, RHS) == ["im2col"]


def test_one_plan_can_be_entered_twice_and_errors_leave_it():
    plan, f = plan_of("im2col"), jaxconv.accelerate(conv)
    before = ran(f, LHS, RHS)
    with pytest.raises(ZeroDivisionError), plan, plan:
        assert ran(f, LHS, RHS) == ["im2col"]
        raise ZeroDivisionError
    assert ran(f, LHS, RHS) == before


def test_each_thread_has_its_own():
    plans = {name: plan_of(name) for name in ("im2col", "kn2row", "naive")}
    shared, got, barrier = plan_of("slabs"), {}, threading.Barrier(3)

    def work(name):
        f = jaxconv.accelerate(conv)
        with shared, plans[name]:
            barrier.wait()
            got[name] = jaxconv.explain(f, LHS, RHS).rows[0].algorithm
            barrier.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in plans]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert got == {name: name for name in plans}


def test_the_gradients_go_by_the_plan_too():
    found = convolutions(step, LHS, RHS)
    plan = Plan(conditions(), {each.geometry: Tuned("im2col", {"im2col": 1e-6}, {}) for each in found})
    with plan:
        assert set(ran(jaxconv.accelerate(step), LHS, RHS)) == {"im2col"}
        assert set(ran(jax.grad(lambda rhs: jaxconv.accelerate(conv)(LHS, rhs).sum()), RHS)) == {"im2col"}


@pytest.mark.parametrize(
    "name, value", [("jax", "0.1"), pytest.param("threads", 77, marks=on_cpu), ("device", "another")]
)
def test_a_plan_made_elsewhere_is_refused(name, value):
    plan = replace(plan_of("im2col"), conditions={**conditions(), name: value})
    f = jaxconv.accelerate(conv)
    before = ran(f, LHS, RHS)
    with pytest.warns(UserWarning, match=f"not used, .* {name} {value!r}, not"), plan:
        assert ran(f, LHS, RHS) == before
    with pytest.raises(ValueError, match=f"different conditions: {name}"):
        _ = plan | plan_of("im2col")


def test_what_one_says_of_where_it_was_made_and_the_other_does_not_is_a_difference():
    somewhere = Plan({"platform": "cpu"}, plan_of("kn2row").convolutions)
    for one, other in ((plan_of("im2col"), somewhere), (somewhere, plan_of("im2col"))):
        with pytest.raises(ValueError, match="different conditions: device"):
            _ = one | other


def test_an_algorithm_that_may_not_be_taken_is_not():
    """But the fastest of those measured that may."""
    seconds = {"winograd2": 1e-6, "fft": 2e-6, "kn2row": 3e-6, "im2col": 4e-6}
    geometry = geometry_of(LHS, RHS, (1, 1), "SAME")
    with Plan(conditions(), {geometry: Tuned("winograd2", seconds, {})}, accuracy="strict"):
        assert ran(jaxconv.accelerate(conv), LHS, RHS) == ["kn2row"]
        [row] = jaxconv.explain(conv, LHS, RHS).rows
    assert (row.algorithm, row.seconds) == ("kn2row", 3e-6) and "plan's winograd2 may not be taken" in row.why
    assert [*row.others][0] == "im2col" and not {"winograd2", "fft"} & {*row.others}


def test_what_would_abort_the_compiler_is_not_taken():
    lhs, rhs = jnp.ones((1, 1, 5, 4)), jnp.ones((1, 1, 3, 9))
    geometry = geometry_of(lhs, rhs, (2, 1), ((0, 0), (4, 4)), (3, 1))
    plan = Plan(conditions(), {geometry: Tuned("xla", {"xla": 1e-6}, {})})
    assert choose(Request(None, Settings(plan=plan)), geometry, "cpu").algorithm == "im2col"


@on_cpu
def test_programs_for_other_devices_do_not_go_by_it():
    geometry = geometry_of(LHS, RHS, (1, 1), "SAME")
    request = Request(None, Settings(plan=plan_of("im2col")))
    targets = ("cpu", "cpu, exported", "cuda", "tpu", "several")
    assert [choose(request, geometry, target).why == "plan" for target in targets] == [True, True, False, False, False]


def test_a_plan_of_a_gpu_is_for_those_of_either_maker():
    plan = Plan({**conditions(), "platform": "gpu"}, plan_of("im2col").convolutions)
    geometry, request = geometry_of(LHS, RHS, (1, 1), "SAME"), Request(None, Settings(plan=plan))
    targets = ("cpu", "cuda", "rocm", "tpu", "several")
    assert [choose(request, geometry, target).why == "plan" for target in targets] == [False, True, True, False, False]


RUN = """
import sys, hashlib, jax, numpy as np, jaxconv
from jaxconv._plan import Plan
rng = np.random.default_rng(0)
lhs, rhs = (rng.standard_normal(shape).astype("float32") for shape in ((4, 24, 24, 32), (3, 3, 32, 40)))
def step(lhs, rhs):
    def loss(rhs):
        out = jax.lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return (out ** 2).sum()
    return jax.value_and_grad(loss)(rhs)
with Plan.load(sys.argv[1]) if sys.argv[1:] else jaxconv.policy():
    out = jax.jit(jaxconv.accelerate(step))(lhs, rhs)
print(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in out)).hexdigest())
"""


@pytest.mark.parametrize("planned", [True, False], ids=["plan", "cost model"])
def test_the_same_bits_in_every_process(tmp_path, planned):
    arguments = []
    if planned:
        scope: dict = {}
        exec(RUN.split("with Plan")[0], scope)
        path = tmp_path / "plan.json"
        jaxconv.autotune(scope["step"], scope["lhs"], scope["rhs"], seconds=60, progress=False).save(path)
        arguments = [str(path)]
    # On a GPU XLA times kernels as it compiles, unless told to have none that differ.
    flags = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"} if jax.default_backend() == "gpu" else {}
    command, env = [sys.executable, "-c", RUN, *arguments], {**os.environ, **flags}
    runs = [subprocess.run(command, capture_output=True, text=True, env=env) for _ in range(3)]
    assert len({run.stdout for run in runs}) == 1 and all(len(run.stdout) == 65 for run in runs), runs[0].stderr
