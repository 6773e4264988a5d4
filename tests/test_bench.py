"""The benchmark's layers are those of the networks, and what it reports is what it measured."""

import importlib.util
import json
import math
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxconv.__main__ import main
from jaxconv._algorithms import ALGORITHMS
from jaxconv._bench import by_jax, figures, process, suites
from jaxconv._bench.job import DIRECTIONS, OPERANDS, CannotError, Job, operands, sum_of_squares
from jaxconv._bench.layer import LAYOUTS, Layer
from jaxconv._bench.results import Results, ResultsError, load, open_or_resume
from jaxconv._bench.run import speed
from jaxconv._bench.sheets import milliseconds
from jaxconv._bench.suites import SUITES, suite
from jaxconv._bench.worker import take_times

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
TINY = {
    "strided": Layer(2, 4, (9, 8), 6, 3, stride=2, padding=1, groups=2),
    "dilated": Layer(1, 3, (8, 8), 4, 3, padding=2, dilation=2),
    "causal": Layer(2, 4, (16,), 4, 2, padding=(2, 0), dilation=2),
    "volume": Layer(1, 2, (4, 5, 6), 3, 3, padding=1),
    "transposed": Layer(2, 4, (5, 5), 6, 4, padding=1, groups=2, up=2),
    "from one pixel": Layer(2, 8, (1, 1), 4, 4, up=1),
}


def job(name="strided", direction="forward", dtype="float32", layout="NHWC"):
    return Job("tiny", None, name, TINY[name], direction, dtype, layout)


@pytest.fixture(autouse=True)
def types_as_before():
    before = jax.config.read("jax_enable_x64")
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize(
    "name, published",
    [
        ("resnet50", 4.09e9),
        ("resnext50", 4.23e9),
        ("mobilenetv2", 0.30e9),
        ("efficientnet-b0", 0.39e9),
        ("convnext-t", 4.46e9),
        ("vgg16", 15.35e9),
    ],
)
def test_networks_have_the_published_multiply_adds(name, published):
    assert 0.98 < sum(layer.occurs * layer.macs for layer in suite(name, 1).values()) / published <= 1.005


def test_networks_at_any_batch_size():
    for name in set(SUITES) - set(suites.FIXED):
        one, eight = suite(name, 1), suite(name, 8)
        assert (
            [layer._replace(images=8) for layer in one.values()] == list(eight.values()) == list(SUITES[name].values())
        )
        assert list(one) == list(eight)


@pytest.mark.parametrize("name", SUITES)
def test_every_layer_is_what_lax_takes_it_for(name):
    for label, layer in suite(name, 1).items():
        for layout in LAYOUTS if name == "core" else ("NHWC",):
            lhs, rhs = layer.shapes(layout)
            expected = {"forward": layer.out_shape(layout), "input-grad": lhs, "weight-grad": rhs}
            for direction in DIRECTIONS:
                f, structs = by_jax.function(Job(name, 1, label, layer, direction, "float32", layout))
                assert jax.eval_shape(f, *structs).shape == expected[direction], label


def test_multiply_adds_of_a_transposed_layer():
    assert Layer(2, 4, (5, 5), 6, 4, padding=1, up=2).macs == 2 * 25 * 16 * 4 * 6
    assert Layer(2, 4, (5, 5), 6, 4, padding=1, up=2).out_spatial == (10, 10)  # (5 - 1) * 2 - 2 * 1 + 4


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", TINY)
def test_backends_compute_the_same(name, direction):
    """lax, im2col and PyTorch, in both layouts: one sum of squares."""
    sums = []
    for layout in LAYOUTS:
        for backend in ("lax", "im2col"):
            prepared = by_jax.prepare(backend, job(name, direction, "float64", layout))
            sums += [sum_of_squares(prepared.value(call())) for call in prepared.calls.values()]
    if HAS_TORCH:
        from jaxconv._bench import by_torch

        prepared = by_torch.prepare(job(name, direction, "float64"))
        assert len(prepared.calls) == (1 if name == "causal" else 2)
        sums += [sum_of_squares(prepared.value(call())) for call in prepared.calls.values()]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-12)


def test_gradients_are_those_of_the_forward_convolution():
    lhs, rhs = (jax.numpy.asarray(array) for array in operands(job()))
    for direction in ("input-grad", "weight-grad"):
        f, _ = by_jax.function(job(direction=direction))
        given = dict(zip(OPERANDS[direction], map(jax.numpy.asarray, operands(job(direction=direction))), strict=True))
        forward, _ = by_jax.function(job())
        grads = jax.vjp(forward, given.get("lhs", lhs), given.get("rhs", rhs))[1](given["out"])
        expected = grads[0 if direction == "input-grad" else 1]
        np.testing.assert_allclose(f(*given.values()), expected, rtol=1e-6)


def test_an_algorithm_is_not_timed_where_another_would_run(monkeypatch):
    """It can do the forward convolution and not that of the weight gradient, whose "kernel" is the output."""
    refusing = ALGORITHMS["im2col"]._replace(unsupported=lambda geometry: "even taps" if geometry.kernel[0] > 3 else "")
    monkeypatch.setitem(ALGORITHMS, "im2col", refusing)
    assert by_jax.prepare("im2col", job()).calls
    with pytest.raises(CannotError, match="even taps"):
        by_jax.prepare("im2col", job(direction="weight-grad"))


def test_each_variant_is_timed():
    calls = {"a": lambda: None, "b": lambda: None}
    times = take_times(SimpleNamespace(calls=calls), 1e-4)  # pyright: ignore[reportArgumentType] (all it looks at)
    assert set(times) == {"a", "b"} and all(values and min(values) >= 0 for values in times.values())


def test_median_and_quartiles_of_the_better_variant():
    samples = {"slow": [5.0, 6.0, 7.0], "fast": [1.0, 2.0, 3.0, 4.0, 9.0]}
    expected = {"median": 3.0, "quartiles": [2.0, 4.0], "fastest": 1.0, "samples": 5, "variant": "fast"}
    assert speed(samples) == expected
    assert speed({"": [2.0]}) == {"median": 2.0, "quartiles": [2.0, 2.0], "fastest": 2.0, "samples": 1}


# The whole way: a suite of two layers, one of which kills the process of im2col, and a weight gradient it cannot do.

WORKER = """
import os, signal, sys
from jaxconv._algorithms import ALGORITHMS
from jaxconv._bench import worker

real = worker.prepare

def prepare(backend, job):
    print("this is no answer")
    if backend == "im2col" and job.name == "deadly" and job.direction == "forward":
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if backend == "im2col" and job.direction == "weight-grad":
        refuse = ALGORITHMS["im2col"]._replace(unsupported=lambda geometry: "no weight gradients")
        ALGORITHMS["im2col"] = refuse
    return real(backend, job)

worker.prepare = prepare
worker.main(sys.argv[1])
"""


@pytest.fixture
def tiny_suite(monkeypatch):
    layers = {"strided": TINY["strided"], "deadly": TINY["dilated"]}
    monkeypatch.setitem(suites.FIXED, "tiny", layers)
    monkeypatch.setitem(SUITES, "tiny", layers)
    monkeypatch.setattr(process, "command", lambda backend: [sys.executable, "-c", WORKER, backend])
    monkeypatch.setattr(by_jax, "PRODUCTS", ((64, 64, 64),))


def bench(*arguments):
    return main(["bench", "--suite", "tiny", "--rounds", "2", "--seconds", "0.001", *map(str, arguments)])


def test_from_the_command_line(tiny_suite, tmp_path, monkeypatch, capsys):
    out, report, charts = tmp_path / "new" / "out.json", tmp_path / "report.md", tmp_path / "charts"
    against = ["lax", "torch"] if HAS_TORCH else ["lax"]
    assert bench("--out", out, "--markdown", report, "--charts", charts, "--per-algorithm") == 1  # something failed

    content = json.loads(out.read_text())
    assert content["environment"]["jax"] == jax.__version__ and content["settings"]["rounds"] == 2
    rows = {(row["name"], row["direction"]): row for row in content["rows"]}
    assert set(rows) == {(name, direction) for name in ("strided", "deadly") for direction in DIRECTIONS}
    row = rows["strided", "input-grad"]
    assert row["macs"] == TINY["strided"].macs and row["matmul"] > 0
    assert list(row["backends"]) == [*against, "im2col"]
    for name, entry in row["backends"].items():
        assert entry["quartiles"][0] <= entry["median"] <= entry["quartiles"][1] and entry["samples"] >= 2
        assert entry["peak"] > 1e7 and "wrong" not in entry
        assert (entry["compile"] is None) == (entry["workspace"] is None) == (name == "torch")
    assert "signal 9" in rows["deadly", "forward"]["backends"]["im2col"]["error"]
    assert "last words" in rows["deadly", "forward"]["backends"]["im2col"]["error"]
    assert rows["deadly", "input-grad"]["backends"]["im2col"]["median"] > 0  # started again
    assert rows["strided", "weight-grad"]["backends"]["im2col"] == {"cannot": "no weight gradients"}
    assert rows["deadly", "forward"]["backends"]["lax"]["median"] > 0  # nobody else minded

    text = report.read_text()
    assert "| weight-grad | - | 2 of 2 | - |" in text  # no algorithm has a time there, and that is a loss
    assert "FAILED: forward of deadly by im2col: the process died with signal 9" in text
    assert "weight-grad of strided 0.00" in text and "| cannot |" in text
    assert {path.name for path in charts.iterdir()} == {
        f"tiny-float32-NHWC-{direction}.png" for direction in ("forward", "input-grad")
    }

    # Again: nothing is measured, the report is the same.
    before, printed = out.read_bytes(), capsys.readouterr().out
    monkeypatch.setattr(process, "command", lambda backend: pytest.fail("measured again"))
    assert bench("--out", out, "--per-algorithm") == 1
    assert out.read_bytes() == before
    assert (
        capsys.readouterr().out.splitlines()[-3:]
        == [line for line in printed.splitlines() if "charts in" not in line][-3:]
    )
    assert main(["bench", "--report-only", "--out", str(out), "--direction", "input-grad", "--layer", "stri"]) == 0
    printed = capsys.readouterr().out
    assert "strided" in printed and "deadly" not in printed

    # Under other conditions: not mixed.
    with pytest.raises(SystemExit) as stopped:
        bench("--out", out, "--rounds", "3")
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "rounds is 3, there it is 2" in message and "--fresh" in message
    assert out.read_bytes() == before


def test_interrupted(tiny_suite, tmp_path, monkeypatch, capsys):
    """What was measured stays, and the same command goes on."""
    out = tmp_path / "out.json"
    options = ("--out", out, "--layer", "strided", "--against", "lax", "--direction", "forward")
    assert bench(*options) == 0

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxconv._bench.run.measure", interrupt)
    assert bench(*options, "--direction", "input-grad") == 130
    assert "goes on from there" in capsys.readouterr().out
    assert len(load(out).rows) == 1


def test_another_backend_makes_all_take_turns_again(tiny_suite, tmp_path, capsys):
    options = ("--layer", "strided", "--direction", "forward", "--against", "lax", "--per-algorithm")
    out = tmp_path / "out.json"
    assert bench("--out", out, *options) == 0
    assert bench("--out", out, *options, "--algorithm", "naive") == 0
    (row,) = load(out).rows.values()
    assert set(row["backends"]) == {"lax", "naive", "im2col"}
    last = capsys.readouterr().out.rsplit("every backend", 1)[1]
    assert "naive" in last and "im2col" not in last  # which nobody asked for this time


def test_other_conditions(tmp_path):
    path = tmp_path / "out.json"
    Results(path, {"environment": {"commit": "abc", "jax": "1"}}).write()
    assert open_or_resume(path, {"environment": {"commit": "abc", "jax": "1"}}, fresh=False).rows == {}
    with pytest.raises(ResultsError, match="commit is 'def', there it is 'abc'. Choose another --out"):
        open_or_resume(path, {"environment": {"commit": "def", "jax": "1"}}, fresh=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--suite", "alexnet"], "there is no suite 'alexnet'; there are core, resnet50"),
        (["--layer", "no such"], "no layer has 'no such' in its name; core has notebook, ResNet-50 conv1"),
        (["--report-only", "--out", "/nowhere/at/all.json"], "run without --report-only first"),
        (["--algorithm", "magic"], "invalid choice: 'magic'"),
        (["--batch", "0"], "must be positive, got 0"),
    ],
)
def test_wrong_requests(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_without_torch(monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "--against", "torch"])
    assert stopped.value.code == 2 and "pip install 'jaxconv[benchmarks]'" in capsys.readouterr().err
    measured = []
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda jobs, backends, *_: measured.extend(backends))
    with pytest.raises(SystemExit):  # nothing to report
        main(["bench", "--layer", "notebook", "--out", "/nowhere/at/all.json"])
    assert measured == ["lax", *(name for name in ALGORITHMS if name not in ("naive", "xla"))]
    assert "PyTorch is not installed and left out" in capsys.readouterr().out


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "out.json"
    for text in ("", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(ResultsError, match="has no results"):
            open_or_resume(path, {}, fresh=False)
    assert open_or_resume(path, {}, fresh=True).rows == {}


# Numbers by hand.


def row(name, direction="forward", **seconds):
    entries = {name: {"median": value, "quartiles": [value, value]} for name, value in seconds.items()}
    identity = {"suite": "s", "batch": None, "layer": {"occurs": 3}, "dtype": "float32", "layout": "NHWC"}
    return {**identity, "name": name, "direction": direction, "macs": 10**9, "matmul": 2e12, "backends": entries}


ROWS = [
    row("won", lax=4e-3, torch=1e-3, im2col=2e-3, naive=3e-3, winograd4=0.5e-3),
    row("lost", lax=1e-3, im2col=2e-3),
    row("not ours", "input-grad", lax=1e-3),
]


def test_ratios_and_means():
    lines = figures.compare(ROWS, ("lax", "torch"))
    assert [line.best for line in lines] == ["im2col", "im2col", None]
    assert [line.ratios for line in lines] == [{"lax": 2, "torch": 0.5}, {"lax": 0.5}, {}]
    assert figures.geometric_mean([2, 0.5]) == 1 and figures.geometric_mean([2, 8, 4]) == pytest.approx(4)
    assert math.isnan(figures.geometric_mean([]))
    assert [line.row["name"] for line in figures.losses(lines, "lax")] == ["not ours", "lost"]
    assert [line.row["name"] for line in figures.losses(lines, "torch")] == ["won"]
    assert figures.fraction(ROWS[0], "im2col") == 0.5
    assert figures.compare(ROWS, ("lax",), approximate=True)[0] == (ROWS[0], "winograd4", {"lax": 8})


def test_a_wrong_result_is_not_the_best():
    wrong = row("wrong", lax=4e-3, im2col=1e-3, naive=2e-3)
    wrong["backends"]["im2col"]["wrong"] = True
    assert figures.compare([wrong], ["lax"])[0].best == "naive"
    assert figures.failures(wrong) == {"im2col": "computed something else"}


def test_report(tmp_path, capsys):
    path, report = tmp_path / "out.json", tmp_path / "report.md"
    results = Results(path, {"environment": {"commit": "abc", "torch": None}})
    for each in ROWS:
        results.put(each)
    assert main(["bench", "--report-only", "--out", str(path), "--markdown", str(report)]) == 0
    text = report.read_text()
    assert "Measured with commit abc." in text
    assert "| forward | 1.00 | 1 of 2 | 0.50 lost | 0.50 | 1 of 1 | 0.50 won |" in text
    assert "| input-grad | - | 1 of 1 | - | - | 0 of 0 | - |" in text
    assert "| all | 1.00 | 2 of 3 | 0.50 forward of lost | 0.50 | 1 of 1 | 0.50 forward of won |" in text
    assert "| won | forward | im2col | 2.00 ±0% | 4.00 ±0% | 1.00 ±0% | 2.00 | 0.50 | 50% | - | - |" in text
    assert "| forward | 1 of 2 | 6.00 | 12.0 | 3.00 |" in text  # three of "won", which alone all have times for
    assert "Slower than lax in 2 of 3: input-grad of not ours 0.00; forward of lost 0.50." in text
    assert "Matrix products meanwhile: 2000 to 2000 Gflop/s." in text
    printed = capsys.readouterr().out
    assert "0.50 lost" in printed and "Slower than torch in 1 of 1: forward of won 0.50." in printed


@pytest.mark.parametrize(
    "seconds, text", [(0.00012345, "0.12"), (0.0012345, "1.23"), (0.012345, "12.3"), (0.12345, "123"), (1.2345, "1234")]
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text
