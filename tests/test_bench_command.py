"""`python -m jaxconv bench`, the whole way on two small layers: results, taking them up again, what goes wrong."""

import importlib.util
import json
import sys

import jax
import pytest

from jaxconv.__main__ import main
from jaxconv._algorithms import ALGORITHMS
from jaxconv._bench import process, suites
from jaxconv._bench.device import Device
from jaxconv._bench.job import DIRECTIONS
from jaxconv._bench.layer import Layer
from jaxconv._bench.results import Results, ResultsError, load, open_or_resume
from jaxconv._bench.suites import SUITES

HAS_TORCH = importlib.util.find_spec("torch") is not None
LAYERS = {
    "strided": Layer(2, 4, (9, 8), 6, 3, stride=2, padding=1, groups=2),
    "deadly": Layer(1, 3, (8, 8), 4, 3, padding=2, dilation=2),
}

# One of the layers kills the process of im2col, which has no way to do weight gradients.
WORKER = """
import os, signal, sys
from jaxconv._algorithms import ALGORITHMS
from jaxconv._bench import by_jax, worker

by_jax.PRODUCTS = ((64, 64, 64),)
real = worker.prepare

def prepare(backend, job, platform):
    print("this is no answer")
    if backend == "im2col" and job.name == "deadly" and job.direction == "forward":
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if backend == "im2col" and job.direction == "weight-grad":
        refuse = ALGORITHMS["im2col"]._replace(unsupported=lambda geometry, *bound: "no weight gradients")
        ALGORITHMS["im2col"] = refuse
    return real(backend, job, platform)

worker.prepare = prepare
worker.main()
"""


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    """Known without asking another process each time."""
    monkeypatch.setattr("jaxconv._bench.device.find", lambda: Device("cpu", "cpu"))


@pytest.fixture
def tiny_suite(monkeypatch):
    monkeypatch.setitem(suites.FIXED, "tiny", LAYERS)
    monkeypatch.setitem(SUITES, "tiny", LAYERS)
    monkeypatch.setattr(process, "command", lambda: [sys.executable, "-c", WORKER])


def bench(*arguments, algorithm="im2col"):
    options = ["--suite", "tiny", "--algorithm", algorithm, "--rounds", "2", "--seconds", "0.001"]
    return main(["bench", *options, *map(str, arguments)])


def test_from_the_command_line(tiny_suite, tmp_path, monkeypatch, capsys):
    out, report, charts = tmp_path / "new" / "out.json", tmp_path / "report.md", tmp_path / "charts"
    against = ["lax", "torch"] if HAS_TORCH else ["lax"]
    assert bench("--out", out, "--markdown", report, "--charts", charts, "--per-algorithm") == 1  # something failed

    content = json.loads(out.read_text())
    assert content["environment"]["jax"] == jax.__version__ and content["settings"]["rounds"] == 2
    rows = {(row["name"], row["direction"]): row for row in content["rows"]}
    assert set(rows) == {(name, direction) for name in ("strided", "deadly") for direction in DIRECTIONS}
    row = rows["strided", "input-grad"]
    assert row["macs"] == LAYERS["strided"].macs and row["matmul"] > 0 and row["elementwise"] > 0
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
    monkeypatch.setattr(process, "command", lambda: pytest.fail("measured again"))
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
    assert bench("--out", out, *options, algorithm="naive") == 0
    (row,) = load(out).rows.values()
    assert set(row["backends"]) == {"lax", "naive", "im2col"}
    last = capsys.readouterr().out.rsplit("every backend", 1)[1]
    assert "naive" in last and "im2col" not in last  # which nobody asked for this time


def test_other_conditions(tmp_path):
    path = tmp_path / "out.json"
    Results(path, {"environment": {"commit": "abc", "jax": "1"}}).write()
    assert open_or_resume(path, {"environment": {"commit": "abc", "jax": "1"}}, fresh=False).rows == {}
    with pytest.raises(ResultsError, match="commit is 'def', there it is 'abc'. Choose another file, or --fresh"):
        open_or_resume(path, {"environment": {"commit": "def", "jax": "1"}}, fresh=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--suite", "lenet"], "there is no suite 'lenet'; there are core, kinds, resnet50"),
        (["--layer", "no such"], "no layer has 'no such' in its name; core has notebook, ResNet-50 conv1"),
        (["--report-only", "--out", "/nowhere/at/all.json"], "run without --report-only first"),
        (["--algorithm", "magic"], "invalid choice: 'magic'"),
        (["--batch", "0"], "argument --batch: must be a positive integer, got '0'"),
        (["--rounds", "some"], "argument --rounds: must be a positive integer, got 'some'"),
        (["--seconds", "-3"], "argument --seconds: must be a finite number of 0 or more, got '-3'"),
        (["--seconds", "nan", "--limit", "nan"], "argument --seconds: must be a finite number of 0 or more, got 'nan'"),
        (["--limit", "inf"], "argument --limit: must be a finite number of 0 or more, got 'inf'"),
    ],
)
def test_wrong_requests(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda *_: pytest.fail("measured"))
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_without_torch(monkeypatch, capsys, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "--against", "torch"])
    assert stopped.value.code == 2 and "pip install 'jaxconv[benchmarks]'" in capsys.readouterr().err
    measured = []
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda jobs, backends, *_: measured.extend(backends))
    with pytest.raises(SystemExit):  # nothing to report
        main(["bench", "--layer", "notebook", "--out", str(tmp_path / "out.json")])
    assert measured == ["lax", *(name for name in ALGORITHMS if name not in ("naive", "xla"))]
    assert "PyTorch is left out: it is not installed" in capsys.readouterr().out


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "out.json"
    for text in ("", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(ResultsError, match="has no results"):
            open_or_resume(path, {}, fresh=False)
    assert open_or_resume(path, {}, fresh=True).rows == {}
