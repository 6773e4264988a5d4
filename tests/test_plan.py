"""Plans: what autotune measures, how files of them are kept and refused, and what holds inside one."""

import copy
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from marks import on_cpu

import jaxconv
from jaxconv import _autotune, _default_plan, _geometry_json
from jaxconv._collect import convolutions
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import PlanError, Tuned
from jaxconv._select import choose
from jaxconv._settings import Request, Settings, current
from jaxconv.testing import DTYPES, problems

LHS, RHS = jnp.ones((2, 3, 8, 8), "float32"), jnp.ones((4, 3, 3, 3), "float32")


def conv(lhs, rhs):
    return jax.lax.conv(lhs, rhs, (1, 1), "SAME")


def step(lhs, rhs):
    return jax.value_and_grad(lambda rhs: (conv(jnp.tanh(conv(lhs, rhs)[:, :3]), rhs) ** 2).sum())(rhs)


def plan_of(algorithm, *shapes, **more):
    """A plan that takes the algorithm for the forward convolution."""
    geometry = geometry_of(*(shapes or (LHS, RHS)), (1, 1), "SAME")
    return Plan(conditions(), {geometry: Tuned(algorithm, {algorithm: 1e-6, "xla": 1e-5}, {algorithm: 1.0})}, **more)


def ran(f, *args):
    """The algorithms that lowering `f` ran."""
    with pytest.MonkeyPatch.context() as patch:
        names = []
        for name, algorithm in jaxconv.ALGORITHMS.items():

            def convolve(*operands, name=name, algorithm=algorithm):
                names.append(name)
                return algorithm.convolve(*operands)

            patch.setitem(jaxconv.ALGORITHMS, name, algorithm._replace(convolve=convolve))
        jax.jit(lambda *args: f(*args)).lower(*args)
    return names or ["xla"]


@pytest.fixture(scope="module")
def tuned():
    return jaxconv.autotune(step, LHS, RHS, seconds=60, progress=False)


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


def test_a_plan_that_says_nothing_of_accuracy_and_memory_keeps_what_is_current(tuned):
    assert (tuned.accuracy, tuned.max_workspace_bytes) == (None, None)
    with jaxconv.policy(accuracy="strict", max_workspace_bytes=2**20):
        before = current()
        with tuned:
            assert current()._replace(plan=None) == before
    fast = jaxconv.autotune(conv, LHS, RHS, seconds=60, accuracy="fast", max_workspace_bytes=2**22, progress=False)
    assert (fast.accuracy, fast.max_workspace_bytes) == ("fast", 2**22)


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


def test_a_plan_with_nothing_in_it_changes_nothing(tmp_path, cache):
    path = tmp_path / "plan.json"
    plan_of("im2col").save(path)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with jaxconv.policy(accuracy="strict", max_workspace_bytes=1000):
        before = current()
        for load in (jaxconv.load_default_plan, lambda: Plan.load(path)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                plan = load()
            with plan:
                assert current()._replace(plan=None) == before
    assert (plan | plan_of("im2col", accuracy="fast")).accuracy == "fast"


def test_files_keep_everything(tmp_path, tuned):
    path = tmp_path / "folder" / "plan.json"
    tuned.save(path)
    assert Plan.load(path) == tuned and hash(Plan.load(path)) == hash(tuned)
    assert list(path.parent.iterdir()) == [path]
    assert (tuned | tuned) == tuned


@pytest.mark.parametrize("way", [pickle.dumps, copy.deepcopy])
def test_copies_are_equal(tuned, way):
    copied = way(tuned)
    assert (pickle.loads(copied) if isinstance(copied, bytes) else copied) == tuned


@given(problems(dtypes=(*DTYPES, "float8_e4m3fn", "float8_e5m2"), empty=False))
def test_every_geometry_goes_through_a_file(problem):
    geometry = geometry_of(*problem.operands(), **problem.arguments, precision=("high", "highest"))
    assert _geometry_json.from_json(json.loads(json.dumps(_geometry_json.to_json(geometry)))) == geometry


def test_another_schema_is_refused_with_a_warning(tmp_path):
    path = tmp_path / "plan.json"
    plan_of("im2col").save(path)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.warns(UserWarning, match="its format is version 2, this is 1"):
        assert not Plan.load(path).convolutions


def test_of_another_jaxconv_that_has_other_algorithms(tmp_path):
    path = tmp_path / "plan.json"
    plan = plan_of("im2col")
    replace(plan, conditions={**plan.conditions, "jaxconv": "9.9"}).save(path)
    path.write_text(text := path.read_text().replace("im2col", "winograd6"))
    with pytest.warns(UserWarning, match=r"made by jaxconv 9.9, this is \S*, which says: algorithm must be one of"):
        assert not Plan.load(path).convolutions
    assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"plan"',
        '{"schema": 1}',
        "[" * 100_000,
        '{"schema": true}',
        "\x00",
        '{"schema": NaN}',
    ],
)
def test_a_file_with_no_plan_in_it(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError, match="has no plan in it"):
        Plan.load(path)
    assert path.read_text() == text


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Plan.load(tmp_path / "none.json")


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-2, 3), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def places(value, place=()):
    """The keys that lead to each value in a plan's JSON, but to all of it."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*place, key)
        yield from places(value[key], (*place, key))


PLACES = [*places(json.loads(json.dumps(plan_of("im2col").to_json())))]


def exchanged(place, value):
    """A plan's JSON with another value there."""
    content = target = json.loads(json.dumps(plan_of("im2col").to_json()))
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return json.dumps(content)


def refused_or_whole(path, text):
    """A clear error, or a plan that saves what it loaded."""
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other versions
        try:
            plan = Plan.load(path)
        except PlanError as error:
            assert "has no plan in it" in str(error)
        else:
            plan.save(path)
            assert Plan.load(path) == plan


@given(st.data())
def test_damaged_files_are_refused_or_whole(data):
    """Any value anywhere exchanged, and any part cut off."""
    text = exchanged(data.draw(st.sampled_from(PLACES)), data.draw(HOSTILE))
    with tempfile.TemporaryDirectory() as folder:
        refused_or_whole(Path(folder) / "plan.json", text[: data.draw(st.sampled_from([len(text), len(text) // 2]))])


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_of_each_kind_of_value_in_each_place(place, tmp_path):
    numbers = -1, 0.5, 10**400, -(10**400), float("inf"), float("nan")
    for value in (None, True, *numbers, "", "float32", [], {}, [{}], [[]]):
        refused_or_whole(tmp_path / "plan.json", exchanged(place, value))


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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_default_plan(cache):
    assert not jaxconv.load_default_plan().convolutions
    path = jaxconv.save_default_plan(plan_of("im2col"))
    jaxconv.save_default_plan(plan_of("kn2row", LHS[:1], RHS))
    assert path.is_relative_to(cache) and len(jaxconv.load_default_plan().convolutions) == 2
    path.write_text("{")
    for use in (jaxconv.load_default_plan, lambda: jaxconv.save_default_plan(plan_of("im2col"))):
        with pytest.raises(PlanError, match=str(path)):
            use()
    assert path.read_text() == "{"


SAVES = """
import sys, jax.numpy as jnp, jaxconv
from jaxconv._parameters import geometry_of
from jaxconv._machine import conditions
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned
for size in range(3, 13):
    g = geometry_of(jnp.ones((int(sys.argv[1]), 3, size, size)), jnp.ones((4, 3, 3, 3)), (1, 1), "SAME")
    jaxconv.save_default_plan(Plan(conditions(), {g: Tuned("im2col", {}, {})}))
"""


def test_a_file_of_another_version_is_left_as_it_is(cache):
    path = jaxconv.save_default_plan(plan_of("im2col"))
    path.write_text(text := path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(PlanError, match="its format is version 2, this is 1"):
        jaxconv.save_default_plan(plan_of("kn2row"))
    assert path.read_text() == text


def test_threads_that_save_at_once_leave_whole_files(tmp_path):
    path, failures = tmp_path / "plan.json", []
    plans = [plan_of(name) for name in ("im2col", "kn2row", "slabs")]
    plans[0].save(path)

    def work(plan):
        try:
            for _ in range(100):
                plan.save(path)
                assert Plan.load(path) in plans
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures and [*tmp_path.iterdir()] == [path]


def test_processes_that_save_at_once_lose_nothing(cache):
    workers = [subprocess.Popen([sys.executable, "-c", SAVES, str(i)]) for i in (1, 2, 3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert len(jaxconv.load_default_plan().convolutions) == 30


def test_without_the_tools_the_default_plan_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ImportError, match=r"needs platformdirs: pip install 'jaxconv\[tools\]'"):
        _default_plan.default_plan_path()


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


def test_a_plan_of_a_gpu_is_for_those_of_either_maker():
    plan = Plan({**conditions(), "platform": "gpu"}, plan_of("im2col").convolutions)
    geometry, request = geometry_of(LHS, RHS, (1, 1), "SAME"), Request(None, Settings(plan=plan))
    targets = ("cpu", "cuda", "rocm", "tpu", "several")
    assert [choose(request, geometry, target).why == "plan" for target in targets] == [False, True, True, False, False]


def test_whoever_saves_waits_for_the_lock(cache):
    path = jaxconv.save_default_plan(plan_of("im2col"))
    other = threading.Thread(target=jaxconv.save_default_plan, args=(plan_of("kn2row", LHS[:1], RHS),))
    with FileLock(path.with_name(f".{path.name}.lock")):
        other.start()
        other.join(1.0)
        assert other.is_alive() and len(jaxconv.load_default_plan().convolutions) == 1
    other.join()
    assert len(jaxconv.load_default_plan().convolutions) == 2


def test_each_format_has_a_default_file_of_its_own(cache, monkeypatch):
    before = _default_plan.default_plan_path()
    monkeypatch.setattr(_default_plan, "SCHEMA", 2)
    assert _default_plan.default_plan_path() != before
