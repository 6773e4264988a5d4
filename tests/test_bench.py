"""The benchmark's layers are those of the networks, and what it reports is what it measured."""

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from jaxconv._algorithms import ALGORITHMS
from jaxconv._bench import by_jax, process, suites
from jaxconv._bench.figures import failures
from jaxconv._bench.job import DIRECTIONS, OPERANDS, CannotError, Job, operands, sum_of_squares
from jaxconv._bench.layer import LAYOUTS, Layer
from jaxconv._bench.results import Results, checked, load
from jaxconv._bench.run import AGREEMENT, Settings, mark_wrong, measure, speed
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
        ("c3d", 38.5e9),
        ("alexnet", 0.666e9),
        ("densenet121", 2.834e9),
        ("squeezenet", 0.349e9),
        ("regnetx-3.2gf", 3.177e9),
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
    refusing = ALGORITHMS["im2col"]._replace(
        unsupported=lambda geometry, *bound: "even taps" if geometry.kernel[0] > 3 else ""
    )
    monkeypatch.setitem(ALGORITHMS, "im2col", refusing)
    assert by_jax.prepare("im2col", job()).calls
    with pytest.raises(CannotError, match="even taps"):
        by_jax.prepare("im2col", job(direction="weight-grad"))


def test_an_algorithm_is_not_timed_on_a_device_that_it_is_not_for(monkeypatch):
    """Where programs of its name have lax's own convolution in them."""
    monkeypatch.setattr(by_jax, "platform", lambda: "cuda")
    with pytest.raises(CannotError, match="it is called by programs that this process compiles for its CPU"):
        by_jax.prepare("onednn", job("dilated"))
    assert by_jax.prepare("im2col", job("dilated")).calls


def test_each_variant_is_timed():
    calls = {"a": lambda: None, "b": lambda: None}
    times = take_times(calls, 1e-4)
    assert set(times) == {"a", "b"} and all(values and min(values) >= 0 for values in times.values())


def test_median_and_quartiles_of_the_better_variant():
    samples = {"slow": [5.0, 6.0, 7.0], "fast": [1.0, 2.0, 3.0, 4.0, 9.0]}
    expected = {"median": 3.0, "quartiles": [2.0, 4.0], "fastest": 1.0, "samples": 5, "variant": "fast"}
    assert speed(samples) == expected
    assert speed({"": [2.0]}) == {"median": 2.0, "quartiles": [2.0, 2.0], "fastest": 2.0, "samples": 1}


def test_time_limits(monkeypatch):
    """Who takes too long is stopped; who takes long is not asked again."""
    monkeypatch.setattr(process, "command", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    worker = process.Worker()
    assert worker.ask(0.1, do="first call") == {"error": "first call took longer than 0.1 s", "timeout": 0.1}
    assert worker.process is None

    class Slow:
        process = None

        def ask(self, limit, /, **message):
            assert message["do"] != "time"
            if message["do"] == "prepare":
                return {"compile": 1.0, "workspace": 0, "flops": None}
            return {"seconds": {"": limit / 2}, "peak": 0, "checksums": [1.0]}

    own: Any = SimpleNamespace(process=None, ask=lambda *_, **__: {"error": "none here"})
    slow: Any = Slow()
    row = measure(job(), {"lax": slow}, own, Settings(limit=8.0))
    assert row["backends"]["lax"]["median"] == 4.0 and row["backends"]["lax"]["samples"] == 1
    assert row["matmul"] is None and row["elementwise"] is None


def test_a_variant_that_takes_long_does_not_stand_for_the_others():
    """As PyTorch's of one memory format do, 70 times as long as those of the other."""
    asked = []

    class Worker:
        process = None

        def ask(self, limit, /, **message):
            asked.append((message["do"], message.get("variants")))
            if message["do"] == "prepare":
                return {"compile": None, "workspace": None, "flops": {"slow": 1, "fast": 1}}
            if message["do"] == "first call":
                return {"seconds": {"slow": limit / 2, "fast": limit / 100}, "peak": 0, "checksums": [1.0, 1.0]}
            return {"times": {variant: [0.5] for variant in message["variants"]}}

    worker: Any = Worker()
    row = measure(job(), {"torch": worker}, worker, Settings(rounds=1, limit=8.0))
    found = row["backends"]["torch"]
    assert (found["median"], found["variant"], found["samples"]) == (0.5, "fast", 1)
    assert [variants for do, variants in asked if do == "time"] == [["fast"]] * 3  # two of them yardsticks
    assert found.keys() == {
        "compile",
        "workspace",
        "peak",
        "checksums",
        "median",
        "quartiles",
        "fastest",
        "samples",
        "variant",
    }


def test_a_different_result_is_marked():
    entries: Any = {"lax": {"checksums": [1.0]}, "torch": {"checksums": [1.0, 1.1]}, "im2col": {"checksums": [1.00001]}}
    mark_wrong(entries, AGREEMENT["float32"])
    assert [name for name, entry in entries.items() if entry.get("wrong")] == ["torch"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_wrong_and_can_be_written_down(value, tmp_path):
    """Whoever computed it, the first that the others are compared with among them."""

    class Worker:
        process = None

        def __init__(self, checksum):
            self.checksum = checksum

        def ask(self, limit, /, **message):
            if message["do"] == "prepare":
                return {"compile": 1.0, "workspace": 0, "flops": {"": 1}}
            if message["do"] == "first call":
                return {"seconds": {"": 0.1}, "peak": 0, "checksums": [self.checksum]}
            return {"times": {"": [0.5]}}

    sums = {"lax": value, "torch": 1.0, "im2col": value, "naive": 1.0}
    workers: Any = {name: Worker(checksum) for name, checksum in sums.items()}
    results = Results(tmp_path / "out.json", {"settings": {}})
    results.put(measure(job(), workers, workers["torch"], Settings(rounds=1)))
    [row] = checked(load(results.path)).rows.values()
    assert failures(row) == dict.fromkeys(["lax", "im2col"], "computed something else")
    assert row["backends"]["lax"]["checksums"] == [str(value)] and row["backends"]["naive"]["checksums"] == [1.0]
