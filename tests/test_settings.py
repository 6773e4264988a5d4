"""Accuracy and memory: per call, as a context, in a plan; and what infinities and NaNs do under each accuracy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import on_cpu
from small_problems import refusal as refused

import jaxconv
from jaxconv._accuracy import ACCURACIES, NORMWISE
from jaxconv._algorithms import _onednn
from jaxconv._machine import conditions
from jaxconv._measure import workspace_bytes
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned
from jaxconv._select import choose, predictions, refusal
from jaxconv._settings import Request, Settings, current
from jaxconv.testing import Problem, oracle

IMAGE, KERNEL = jnp.ones((2, 20, 20, 16), "float32"), jnp.ones((3, 3, 16, 16), "float32")
ARGUMENTS = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
SETTINGS = [Settings(accuracy=name) for name in ACCURACIES]


def geometry(lhs=IMAGE, rhs=KERNEL):
    return geometry_of(lhs, rhs, **ARGUMENTS)


def request_of(f, *args):
    """What the convolution in `f` goes by."""
    [equation] = [eqn for eqn in jax.make_jaxpr(f)(*args).eqns if eqn.primitive.name == "jaxconv"]
    return equation.params["request"]


def conv(lhs, rhs, **more):
    return jaxconv.conv_general_dilated(lhs, rhs, **ARGUMENTS, **more)


def plain(lhs, rhs):
    return jax.lax.conv_general_dilated(lhs, rhs, **ARGUMENTS)


def test_each_accuracy_allows_what_the_one_before_does_and_more():
    strict, default, fast = (ACCURACIES[name] for name in ("strict", "default", "fast"))
    assert strict < default < fast == set(jaxconv.ALGORITHMS)
    assert not strict & NORMWISE and fast - default == {"winograd4", "fft"}


def test_the_default():
    assert current() == Settings("default", None, None) == request_of(conv, IMAGE, KERNEL).settings
    assert current().bound("cpu") == 16 * 2**20


@pytest.mark.parametrize("name, value", [("accuracy", "strict"), ("max_workspace_bytes", 2**20)])
def test_all_ways_to_say_it(name, value):
    wanted = Settings()._replace(**{name: value})
    assert request_of(lambda x, w: conv(x, w, **{name: value}), IMAGE, KERNEL).settings == wanted
    assert request_of(jaxconv.accelerate(plain, **{name: value}), IMAGE, KERNEL).settings == wanted
    accelerated = jaxconv.accelerate(plain)
    with jaxconv.policy(**{name: value}):
        assert current() == wanted
        for f in (conv, accelerated):
            assert request_of(f, IMAGE, KERNEL).settings == wanted
        other = {"accuracy": "fast"} if name == "accuracy" else {"max_workspace_bytes": 5}
        assert request_of(lambda x, w: conv(x, w, **other), IMAGE, KERNEL).settings == wanted._replace(**other)
    with Plan(conditions(), {}, **{name: value}):
        planned = request_of(conv, IMAGE, KERNEL).settings
        assert (planned.accuracy, planned.bound("cpu")) == (wanted.accuracy, wanted.bound("cpu"))
    assert current() == Settings()


def test_gradients_and_batches_keep_it():
    def loss(x, w):
        return conv(x, w, accuracy="strict").sum()

    program = jax.make_jaxpr(jax.vmap(jax.grad(loss, (0, 1)), (0, None)))(IMAGE[None], KERNEL)
    requests = [eqn.params["request"] for eqn in program.eqns if eqn.primitive.name == "jaxconv"]
    assert requests and {request.settings.accuracy for request in requests} == {"strict"}


def test_contexts_nest_and_each_changes_what_it_names():
    with jaxconv.policy(accuracy="fast"):
        with jaxconv.policy(max_workspace_bytes=7):
            assert current()[:2] == ("fast", 7)
        assert current()[:2] == ("fast", None)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"accuracy": "exact"}, "accuracy must be one of 'strict', 'default', 'fast', got 'exact'"),
        ({"accuracy": []}, "accuracy must be one of .*, got \\[\\]"),
        ({"max_workspace_bytes": -1}, "max_workspace_bytes must be an integer of 0 or more, got -1"),
        ({"max_workspace_bytes": 1.5}, "max_workspace_bytes must be an integer of 0 or more, got 1.5"),
        ({"max_workspace_bytes": True}, "max_workspace_bytes must be an integer of 0 or more, got True"),
        (
            {"max_workspace_bytes": np.array([5])},
            r"max_workspace_bytes must be an integer of 0 or more, got array\(\[5",
        ),
    ],
)
def test_what_is_neither(wrong, message):
    for use in (
        lambda: jaxconv.policy(**wrong).__enter__(),
        lambda: conv(IMAGE, KERNEL, **wrong),
        lambda: jaxconv.accelerate(plain, **wrong),
        lambda: jaxconv.autotune(plain, IMAGE, KERNEL, **wrong),
        lambda: jaxconv.explain(plain, IMAGE, KERNEL, **wrong),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def test_a_jitted_function_goes_by_the_policy_of_each_call():
    f, seen = jax.jit(conv), set()
    for accuracy in ACCURACIES:
        with jaxconv.policy(accuracy=accuracy):
            seen.add(str(f.lower(IMAGE, KERNEL).compile() and jax.make_jaxpr(f)(IMAGE, KERNEL)))
    assert len(seen) == len(ACCURACIES)


@on_cpu
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.accuracy)
def test_nothing_is_chosen_that_is_not_allowed(settings):
    allowed = ACCURACIES[settings.accuracy]
    assert set(predictions(geometry(), settings, "cpu")) <= allowed
    assert choose(Request(None, settings), geometry(), "cpu").algorithm in allowed
    planned = settings._replace(plan=Plan(conditions(), {geometry(): Tuned("winograd4", {}, {})}))
    chosen = choose(Request(None, planned), geometry(), "cpu").algorithm
    assert (chosen == "winograd4") == (settings.accuracy == "fast")


def test_a_named_algorithm_is_taken_whatever_the_accuracy():
    assert choose(Request("winograd4", Settings("strict")), geometry(), "cpu").algorithm == "winograd4"


@pytest.mark.parametrize("bytes_", [0, 10_000, 100_000, 16 * 2**20])
def test_the_chooser_keeps_to_the_memory(bytes_):
    settings = Settings(max_workspace_bytes=bytes_)
    for name in predictions(geometry(), settings, "cpu"):
        assert name == "xla" or jaxconv.ALGORITHMS[name].workspace(geometry(), bytes_) <= bytes_
        assert not refusal(name, geometry(), settings, "cpu")


@on_cpu
@pytest.mark.parametrize("algorithm", ["im2col", "kn2row", "winograd2", "winograd4", "fft", "col2im"])
def test_a_smaller_bound_means_less_memory(algorithm):
    image, kernel = jax.ShapeDtypeStruct((4, 64, 64, 16), "float32"), jax.ShapeDtypeStruct((3, 3, 16, 16), "float32")
    used = []
    for bytes_ in (8 * 2**20, 2**20):
        f = jaxconv.accelerate(plain, algorithm=algorithm, max_workspace_bytes=bytes_)
        used.append(workspace_bytes(jax.jit(f).lower(image, kernel).compile()))
        assert used[-1] <= bytes_
    assert used[1] < used[0]


def test_whole_numbers_of_any_kind_bound_it():
    request = request_of(lambda x, w: conv(x, w, max_workspace_bytes=np.int64(7)), IMAGE, KERNEL)
    assert request.settings.bound("cpu") == 7


@on_cpu
def test_that_none_fits_is_said():
    [row] = jaxconv.explain(plain, IMAGE, KERNEL, max_workspace_bytes=0).rows
    assert (row.algorithm, row.why) == ("xla", "all others need more than 0 bytes of workspace")


def test_an_algorithm_that_does_not_fit_says_so():
    with pytest.raises(
        ValueError, match="'im2col' cannot .*: it needs .* bytes of workspace at least, and may take 10;"
    ):
        conv(IMAGE, KERNEL, algorithm="im2col", max_workspace_bytes=10)
    explanation = jaxconv.explain(plain, IMAGE, KERNEL, max_workspace_bytes=10)
    assert "bytes of workspace" in explanation.rows[0].rejected["im2col"]


# Infinities and NaNs. One pixel of one image is one; the other image must never notice.
def spoiled(value, dtype="float64"):
    problem = Problem((2, 2, 17, 19), (3, 2, 9, 3), (1, 1), "SAME", dtype=dtype)
    lhs, rhs = problem.operands()
    return problem, lhs.at[0, 1, 8, 9].set(value), rhs


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("algorithm", sorted(ACCURACIES["strict"]))
def test_direct_sums_keep_them_where_they_belong(algorithm, value):
    problem, lhs, rhs = spoiled(value, "float32" if algorithm == "onednn" else "float64")
    exact = oracle(lhs, rhs, **problem.exact_arguments)
    try:
        got = np.asarray(jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm))
    except ValueError:
        assert algorithm in ("polyphase", "packing", "strips", "kn2row") or (algorithm == "onednn" and _onednn.lack())
        return
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(exact))


@pytest.mark.parametrize("padding, lhs_dilation", [((1, 1), (1, 1)), ((1, 2), (2, 2))])
@pytest.mark.parametrize("algorithm", ["onednn", "polyphase"])
def test_an_odd_channel_of_bfloat16_is_not_multiplied_with_the_next_pixel(algorithm, padding, lhs_dilation):
    """oneDNN takes channels in pairs, and of an odd number the last with what lies behind it, times zero."""
    problem = Problem((2, 3, 8, 9), (32, 3, 3, 3), (1, 1), (padding,) * 2, lhs_dilation, dtype="bfloat16")
    if refused(problem, algorithm):
        return
    lhs, rhs = problem.operands()
    numbers = ("NHWC", "HWIO", "NHWC")
    arguments = {**problem.arguments, "dimension_numbers": numbers}
    for channel in range(3):
        image = lhs.at[0, channel, 4, 4].set(np.nan)
        exact = oracle(image, rhs, **problem.exact_arguments)
        got = jaxconv.conv_general_dilated(
            image.transpose(0, 2, 3, 1), rhs.transpose(2, 3, 1, 0), **arguments, algorithm=algorithm
        )
        np.testing.assert_array_equal(np.isnan(got), np.isnan(exact).transpose(0, 2, 3, 1))


@pytest.mark.parametrize("dilation", [1, 2])
def test_winograd2_makes_nans_of_infinities_and_carries_them_no_further(dilation):
    """Of F(2, 3), y0 = (d0 - d2) g0 + (d1 + d2) u + (d2 - d1) v and y1 = (d1 + d2) u - (d2 - d1) v - (d1 - d3) g2: each
    result is made of inputs that are in its sum. Tried at every place of an image."""
    problem = Problem((90, 2, 9, 10), (3, 2, 3, 3), (1, 1), "SAME", rhs_dilation=(dilation, dilation))
    lhs, rhs = problem.operands()
    pixel = np.eye(90).reshape(90, 1, 9, 10)
    reached = oracle(pixel, np.ones((3, 1, 3, 3)), **problem.exact_arguments) > 0
    lhs = lhs.at[:, 0].set(jnp.where(pixel[:, 0] > 0, np.inf, lhs[:, 0]))
    got = jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm="winograd2")
    np.testing.assert_array_equal(np.isfinite(got), ~reached)
    assert np.isnan(got).any()


# One group of four is spoiled; the others must not notice, of whichever kind they are.
GROUPED = {
    "groups": Problem((2, 8, 7, 9), (8, 2, 3, 3), (1, 1), "SAME", feature_group_count=4),
    "batch groups": Problem((8, 2, 7, 9), (8, 2, 3, 3), (1, 1), "SAME", batch_group_count=4),
    "depthwise": Problem((2, 4, 7, 9), (4, 1, 3, 3), (2, 1), "SAME", feature_group_count=4),
    "dilated": Problem((2, 8, 7, 9), (8, 2, 3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), feature_group_count=4),
}


@pytest.mark.parametrize("problem", GROUPED.values(), ids=GROUPED)
@pytest.mark.parametrize("algorithm", sorted(ACCURACIES["strict"] | {"packing"}))
def test_other_groups_keep_theirs(algorithm, problem):
    lhs, rhs = problem.operands()
    groups = problem.arguments["feature_group_count"], problem.arguments["batch_group_count"]
    lhs = lhs.at[0, 0, 3, 4].set(np.inf)
    if refused(problem, algorithm):
        return
    got = jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm)
    own = got.shape[1] // max(groups)  # output channels of a group, whose first one has the infinity
    assert not np.isfinite(got[0, :own]).all()
    assert np.isfinite(got[:, own:]).all() == (algorithm != "packing")


@pytest.mark.parametrize("algorithm", sorted(ACCURACIES["strict"] | {"strips"}))
def test_neighbouring_results_keep_theirs(algorithm):
    """Of few results and many taps, as in weight gradients."""
    problem = Problem((4, 3, 12, 12), (5, 3, 10, 10), (1, 1), "VALID", dtype="float64")
    lhs, rhs = problem.operands()
    lhs = lhs.at[0, 0, 0, 0].set(np.inf)
    if refused(problem, algorithm):
        return
    exact = oracle(lhs, rhs, **problem.exact_arguments)
    got = np.asarray(jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm))
    assert np.array_equal(np.isfinite(got), np.isfinite(exact)) == (algorithm != "strips")


REACH = {"karatsuba": (19, 19), "winograd4": (4, 5), "fft": (19, 19)}  # rows, columns


@pytest.mark.parametrize("algorithm", REACH)
def test_how_far_the_others_carry_them(algorithm):
    taps = (9, 9) if algorithm in ("karatsuba", "fft") else (3, 3)
    problem = Problem((2, 2, 17, 19), (3, 2, *taps), (1, 1), "SAME")
    lhs, rhs = problem.operands()
    lhs = lhs.at[0, 1, 8, 9].set(np.nan)
    exact = np.isnan(oracle(lhs, rhs, **problem.exact_arguments))
    got = np.isnan(jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm))
    assert not (exact & ~got).any(), "a NaN got lost"
    assert not got[1].any(), "another image has one"
    away = np.abs(np.argwhere(got) - np.array([0, 0, 8, 9]))[:, 2:].max(0)
    assert (away <= REACH[algorithm]).all()


def test_a_policy_can_be_entered_again_and_decorates():
    strict = jaxconv.policy(accuracy="strict")
    for _ in range(2):
        with strict, strict:
            assert current().accuracy == "strict"
        assert current() == Settings()
    assert strict(lambda: current().accuracy)() == "strict" and current() == Settings()


def test_what_is_wrong_with_a_policy_is_said_where_it_is_made():
    with pytest.raises(ValueError, match="accuracy must be one of"):
        jaxconv.policy(accuracy="exact")


def test_a_named_algorithm_keeps_to_the_memory_where_it_falls_back():
    f = jaxconv.accelerate(plain, algorithm="im2col", max_workspace_bytes=10)
    [row] = jaxconv.explain(f, IMAGE, KERNEL).rows
    assert row.algorithm == "xla" and row.why.startswith("im2col was asked for, but it needs")


def test_a_plan_keeps_to_the_memory():
    plan = Plan(conditions(), {geometry(): Tuned("im2col", {"im2col": 1e-6}, {})})
    for bound, planned in ((2**24, True), (10, False)):
        settings = Settings(max_workspace_bytes=bound, plan=plan)
        assert (choose(Request(None, settings), geometry(), "cpu").algorithm == "im2col") == planned


def test_the_bound_of_each_platform():
    platforms = ("cpu", "several", "cuda", "rocm", "tpu")
    assert [Settings().bound(each) for each in platforms] == [2**24, 2**24, 2**30, 2**30, 2**30]


def test_positions_that_integers_are_too_small_for_are_left_to_xla():
    image, kernel = jnp.ones((2, 3, 8, 8), "float32"), jnp.ones((4, 3, 3, 3), "float32")
    out = jaxconv.conv_general_dilated(image, kernel, (2**31, 1), "VALID")
    assert out.shape == (2, 4, 1, 6) and (out == 27).all()
    with pytest.raises(ValueError, match="'im2col' cannot do this convolution: it counts positions up to"):
        jaxconv.conv_general_dilated(image, kernel, (2**31, 1), "VALID", algorithm="im2col")
