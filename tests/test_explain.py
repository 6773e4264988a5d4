"""What `explain` says is what would run, with every reason."""

import io
import json
import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from counting import recorded
from marks import on_cpu
from rich.console import Console

import jaxconv
from jaxconv._accuracy import ERROR_FACTOR
from jaxconv._collect import convolutions
from jaxconv._explanation import COLUMNS
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned

matplotlib.use("Agg")
IMAGE, KERNEL = jax.ShapeDtypeStruct((2, 16, 16, 8), "float32"), jax.ShapeDtypeStruct((3, 3, 8, 8), "float32")
LAYOUTS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "OIHW", "NCHW")}


def conv(lhs, rhs, layout="NHWC"):
    return jax.lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME", dimension_numbers=LAYOUTS[layout])


def step(image, kernel):
    """One convolution by itself, and one that a loop repeats five times; all differentiated."""

    def loss(image, kernel):
        hidden, _ = jax.lax.scan(lambda x, _: (jnp.tanh(conv(x, kernel)), None), conv(image, kernel), length=5)
        return (hidden**2).sum()

    return jax.grad(loss, (0, 1))(image, kernel)


@pytest.fixture(scope="module")
def explanation():
    return jaxconv.explain(step, IMAGE, KERNEL)


def test_every_convolution_is_there_as_often_as_it_runs(explanation):
    count = {}
    for row in explanation.rows:
        count[row.role] = count.get(row.role, 0) + row.times
    assert count == {"forward": 6, "input gradient": 6, "weight gradient": 6}
    assert explanation.flops == sum(row.times * row.flops for row in explanation.rows)
    assert explanation.rows[0].flops == 2 * 2 * 8 * 8 * 9 * 16 * 16


def test_what_it_says_is_what_runs(explanation):
    with pytest.MonkeyPatch.context() as patch:
        ran = recorded(patch)
        jax.jit(jaxconv.accelerate(step)).lower(IMAGE, KERNEL)
    assert set(ran) == {row.algorithm for row in explanation.rows} - {"xla"}


def test_every_other_algorithm_has_a_reason(explanation):
    for row in explanation.rows:
        assert {row.algorithm, *row.rejected} == set(jaxconv.ALGORITHMS) and row.algorithm not in row.rejected
        assert all(row.rejected.values()) and row.why
    assert "winograd4: its error is not within what 'default' allows" in explanation.details()


@on_cpu
def test_costs():
    [row] = jaxconv.explain(conv, IMAGE, KERNEL).rows
    assert row.bytes == 4 * (2 * 2 * 16 * 16 * 8 + 9 * 8 * 8)
    assert row.seconds == row.predicted[row.algorithm] and 0 < row.predicted[row.algorithm] < 1
    assert row.workspace is not None and 0 <= row.workspace <= 16 * 2**20 and row.error_factor >= 1


def test_named_ones_are_as_asked_for():
    [row] = jaxconv.explain(jaxconv.accelerate(conv, algorithm="kn2row"), IMAGE, KERNEL).rows
    assert (row.algorithm, row.why) == ("kn2row", "asked for")
    asked = jaxconv.accelerate(jax.grad(lambda w, x: conv(x, w).sum()), algorithm="col2im")
    weight = jaxconv.explain(asked, KERNEL, IMAGE).rows[-1]
    assert weight.algorithm == "xla" and weight.why.startswith("col2im was asked for, but ")


def test_measured_times_come_from_the_plan():
    geometry = geometry_of(IMAGE, KERNEL, (1, 1), "SAME", dimension_numbers=LAYOUTS["NHWC"])
    with Plan(conditions(), {geometry: Tuned("im2col", {"im2col": 0.5, "xla": 0.75}, {})}):
        explanation = jaxconv.explain(conv, IMAGE, KERNEL)
    [row] = explanation.rows
    assert (row.algorithm, row.why, row.seconds) == ("im2col", "plan", 0.5)
    assert row.rejected["xla"] == "750 ms measured" and "500" in str(explanation)
    assert explanation.seconds == 0.5


@on_cpu
def test_a_time_that_was_not_measured_is_said_to_be_predicted():
    """Though others of that convolution were: here the plan's own choice is not within the accuracy."""
    geometry = geometry_of(IMAGE, KERNEL, (1, 1), "SAME", dimension_numbers=LAYOUTS["NHWC"])
    with Plan(conditions(), {geometry: Tuned("fft", {"fft": 0.5}, {})}):
        explanation = jaxconv.explain(conv, IMAGE, KERNEL)
    [row] = explanation.rows
    assert row.algorithm != "fft" and row.measured == {"fft": 0.5}
    assert explanation.table()[0][COLUMNS.index("ms")].endswith(" predicted")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_roles(layout):
    image = IMAGE if layout == "NHWC" else jax.ShapeDtypeStruct((2, 8, 16, 16), "float32")
    kernel = KERNEL if layout == "NHWC" else jax.ShapeDtypeStruct((8, 8, 3, 3), "float32")
    gradients = jax.grad(lambda x, w: (conv(x, w, layout) ** 2).sum(), (0, 1))
    found = convolutions(gradients, image, kernel)
    assert sorted(each.role for each in found) == ["forward", "input gradient", "weight gradient"]


def test_it_prints_as_a_table(explanation):
    text, page = str(explanation), explanation._repr_html_()
    for words in (*COLUMNS, *(row.algorithm for row in explanation.rows), "x 5", "2x16x16 8->8 3x3"):
        assert words.split()[0] in text and words.replace(">", "&gt;") in page
    assert page.count("<tr>") == len(explanation.rows) + 2


@on_cpu
def test_a_prompt_shows_a_line(explanation):
    assert repr(explanation) == f"Explanation({len(explanation.rows)} convolutions, {1e3 * explanation.seconds:.3g} ms)"


@pytest.mark.parametrize("width, shown", [(80, COLUMNS[:4] + COLUMNS[5:10]), (200, COLUMNS)])
def test_on_a_narrow_console_it_leaves_out_the_sentences(explanation, width, shown):
    text = io.StringIO()
    Console(file=text, width=width).print(explanation)
    top, *lines = text.getvalue().splitlines()
    assert len(top) <= width and top.count("┳") == len(shown) - 1
    below = "\n".join(lines)
    assert all(row.algorithm in below for row in explanation.rows) and ("others" in below) == (shown == COLUMNS)


@on_cpu
def test_it_draws(explanation):
    axes = explanation.plot()
    assert len(axes.patches) == 2 * len(explanation.rows)
    widths = [bar.get_width() for bar in axes.patches[len(explanation.rows) :]]
    np.testing.assert_allclose(widths, [1e3 * row.times * row.seconds for row in explanation.rows])
    assert not any(text.get_text() for text in axes.texts)
    assert explanation.plot(axes) is axes


def test_without_the_tools_it_says_what_it_needs(monkeypatch, explanation):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for use, what in ((lambda: str(explanation), "rich"), (explanation.plot, "matplotlib")):
        with pytest.raises(ImportError, match=rf"needs {what}: pip install 'jaxconv\[tools\]'"):
            use()


def test_a_program_without_convolutions():
    explanation = jaxconv.explain(jnp.tanh, jnp.ones(3))
    assert explanation.rows == () and explanation.flops == 0 and "all" in str(explanation)


def test_of_a_solver_what_runs_is_counted():
    def program(image, kernel):
        return jax.lax.custom_linear_solve(lambda x: conv(x, kernel), image, lambda f, b: f(f(b)), symmetric=True)

    assert len(jaxconv.explain(program, IMAGE, KERNEL).rows) == 2


def test_sizes_that_are_symbols_are_not_known():
    [images] = jax.export.symbolic_shape("b")
    explanation = jaxconv.explain(conv, jax.ShapeDtypeStruct((images, 16, 16, 8), "float32"), KERNEL)
    [row] = explanation.rows
    assert (row.flops, row.bytes, row.workspace, explanation.flops) == (None,) * 4
    assert "bx16x16 8->8 3x3" in str(explanation) and "? MiB" not in str(explanation)
    assert json.loads(json.dumps(row.to_json()))["geometry"]["batch"] == "b"


def test_a_convolution_of_nothing():
    [row] = jaxconv.explain(conv, jax.ShapeDtypeStruct((0, 16, 16, 8), "float32"), KERNEL).rows
    assert row.algorithm == "xla" and row.flops == 0


def test_times_that_nobody_knows_are_not_zero():
    """As on GPUs and TPUs, which the cost model does not know."""
    explanation = jaxconv.explain(conv, jax.ShapeDtypeStruct((0, 16, 16, 8), "float32"), KERNEL)
    assert explanation.seconds is None and "?" in explanation.table()[-1]
    assert repr(explanation) == "Explanation(1 convolutions, ? ms)"
    assert [text.get_text() for text in explanation.plot().texts] == ["?", "?"]


def test_results_of_a_wider_type_are_counted_in_it():
    def wider(lhs, rhs):
        numbers = LAYOUTS["NHWC"]
        return jax.lax.conv_general_dilated(
            lhs, rhs, (1, 1), "SAME", dimension_numbers=numbers, preferred_element_type="float32"
        )

    image, kernel = (jax.ShapeDtypeStruct(each.shape, "bfloat16") for each in (IMAGE, KERNEL))
    [row] = jaxconv.explain(wider, image, kernel).rows
    assert row.bytes == 2 * (2 * 16 * 16 * 8 + 9 * 8 * 8) + 4 * 2 * 16 * 16 * 8


def test_workspaces_are_not_had_at_once():
    explanation = jaxconv.explain(jaxconv.accelerate(step, algorithm="im2col"), IMAGE, KERNEL)
    workspaces = [row.workspace for row in explanation.rows if row.workspace]
    assert len(workspaces) > 1
    assert explanation.table()[-1][COLUMNS.index("workspace")] == f"{max(workspaces) / 2**20:.3g} MiB"


def test_loops_within_loops():
    def twice(x, kernel):
        return jax.lax.scan(lambda x, _: (conv(x, kernel), None), x, length=2)[0]

    def program(image, kernel):
        return jax.lax.scan(lambda x, _: (twice(x, kernel), None), image, length=3)[0]

    [row] = jaxconv.explain(program, IMAGE, KERNEL).rows
    assert row.times == 6


@pytest.mark.parametrize("name", ["im2col", "winograd4"])
def test_error_and_memory_are_of_what_is_taken(name):
    asked = jaxconv.accelerate(conv, algorithm=name, max_workspace_bytes=100_000)
    [row] = jaxconv.explain(asked, IMAGE, KERNEL).rows
    assert (row.algorithm, row.error_factor) == (name, ERROR_FACTOR[name])
    assert row.workspace is not None and row.workspace <= 100_000
