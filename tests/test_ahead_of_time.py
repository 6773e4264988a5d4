"""The table of programs compiled for a TPU: what is kept, which estimates are believed, what is said of them. The
compiler is a stand-in here; `test_tpu.py` has the real one."""

import importlib.util
import json
import sys

import jax
import pytest

from benchmarks.ahead_of_time import __main__ as command
from benchmarks.ahead_of_time import prices, run
from benchmarks.ahead_of_time.report import failed, sheets, verdicts
from jaxconv._bench import by_jax
from jaxconv._bench.job import DIRECTIONS, Job
from jaxconv._bench.suites import CORE, KINDS, SUITES

# Answers as the real worker's: im2col with a loop as long as it may take 16 MiB only, winograd2 not for 1x1, and an
# algorithm that does not compile.
WORKER = """
import sys
from jaxconv._bench.job import CannotError
from jaxconv._bench.worker import serve

def answer(message):
    print("asked", message, file=sys.stderr)
    if message["do"] == "start":
        {START}
        return {"kind": "TPU v5 lite"}
    backend, small = message["backend"], message["bound"] == 16 * 2**20
    if backend == "winograd2" and message["job"]["layer"]["kernel"] == 1:
        raise CannotError("it needs 3 taps")
    if backend == "naive":
        raise MemoryError("out of hbm")
    loops = int(backend == "im2col" and small)
    seconds = {"lax": 2e-4, "im2col": 1e-4, "kn2row": 3e-4}.get(backend, -0.99)
    return {"seconds": seconds, "flops": 10**10, "bytes": 10**6, "temporaries": 2**20, "loops": loops, "compiling": 0.1}

serve(answer)
"""


def entry(seconds=1e-4, flops=10**10, loops=0):
    return {"seconds": seconds, "flops": flops, "bytes": 10**6, "temporaries": 0, "loops": loops, "compiling": 1.0}


def row(name="ResNet-50 3b", more=None, **backends):
    layer, backends = KINDS[name], {**backends, **(more or {})}
    job = Job("kinds", None, name, layer, "forward", "float32", "NHWC")
    return {**job.to_json(), "products": layer.products, "backends": backends}


def test_the_kinds_of_layers():
    layers = KINDS.values()
    assert len(KINDS) == 12 and SUITES["kinds"] is KINDS and KINDS["RepLK depthwise"] is CORE["RepLK depthwise"]
    assert {len(layer.spatial) for layer in layers} == {1, 2, 3} and {1, 3, 7, 31} <= {one.kernel for one in layers}
    assert any(layer.groups == layer.inputs for layer in layers) and any(1 < one.groups < one.inputs for one in layers)
    assert any(layer.stride > 1 for layer in layers) and any(layer.up for layer in layers)


@pytest.mark.parametrize("name", KINDS)
def test_products_are_those_that_xla_counts(name):
    for direction in DIRECTIONS:
        f, structs = by_jax.function(Job("kinds", None, name, KINDS[name], direction, "float32", "NHWC"))
        cost = jax.jit(f).lower(*structs).cost_analysis()
        assert cost is not None and cost["flops"] == 2 * KINDS[name].products


def test_estimates_that_are_not_believed():
    products = KINDS["ResNet-50 3b"].products
    found = row(
        lax=entry(flops=2 * products),
        im2col=entry(loops=1),
        fft=entry(flops=1),  # nobody says how many it must have
        slabs=entry(seconds=-0.9998),
        kn2row=entry(flops=products // 8),
        winograd2=entry(flops=2 * products // 2),
        winograd4=entry(flops=products // 5),
        strips={"cannot": "no"},
        naive={"error": "out of hbm"},
    )
    doubts = {name: prices.doubt(found, name) for name in prices.compiled(found)}
    assert doubts.pop("im2col") == "a loop, whose body is counted once"
    assert doubts.pop("slabs") == "an operation without a price"
    assert doubts.pop("kn2row") == doubts.pop("winograd4") == "fewer operations than it must have"
    assert doubts == dict.fromkeys(("lax", "fft", "winograd2"), "")
    assert set(prices.priced(found)) == {"lax", "fft", "winograd2"}


def test_a_loop_is_never_a_win():
    found = row(lax=entry(2e-4), im2col=entry(1e-6, loops=1), kn2row=entry(4e-4))
    assert prices.best(found) == "kn2row" and prices.gain(found) == 0.5
    found = row(lax=entry(2e-4), im2col=entry(1e-6, loops=1))
    assert prices.best(found) is None and prices.gain(found) is None
    found = row(lax=entry(2e-4, loops=1), kn2row=entry(1e-4))
    assert prices.gain(found) is None


def test_what_is_said_of_them():
    rows = [
        row(lax=entry(2e-4), fft=entry(1e-5), more={"im2col, at once": entry(1e-4)}),  # fft: of another error
        row("ResNet-50 2c", lax=entry(2e-4), kn2row=entry(1.95e-4)),
        row("DeepLab", lax=entry(2e-4), kn2row=entry(4e-4), naive={"error": "out of hbm"}),
        row("WaveNet", lax=entry(-1.0), kn2row=entry(4e-4)),
    ]
    found = verdicts(rows)
    assert found["faster"] == ["forward of ResNet-50 3b, float32 2.00"] and len(found["even"]) == 1
    assert found["slower"] == ["forward of DeepLab, float32 0.50"]
    assert found["no estimate"] == ["forward of WaveNet, float32"]
    gains, programs = sheets(rows)
    assert gains.rows[0][3:7] == ["im2col, at once", "200", "100", "2.00"] and gains.rows[3][4:7] == ["-", "400", "-"]
    assert "faster 1, even 1, slower 1, no estimate 1 of 4" in gains.notes[0]
    counts = {cells[0]: cells[1:] for cells in programs.rows}
    assert counts["naive"] == ["0", "0", "1", "0", "0", "3"] and counts["lax"] == ["4", "0", "0", "0", "3", "0"]
    assert failed(rows) == ["forward of DeepLab, float32 by naive: out of hbm"]


@pytest.fixture
def compiler(monkeypatch):
    """The stand-in, with what it does when it starts."""

    def pretend(start="pass"):
        monkeypatch.setattr(run, "COMMAND", [sys.executable, "-c", WORKER.replace("{START}", start)])

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "libtpu" or real(name))
    pretend()
    return pretend


def options(out, *more):
    names = ("naive", "im2col", "kn2row", "winograd2")
    chosen = [part for name in names for part in ("--algorithm", name)]
    return ["--layer", "2c", "--direction", "forward", "--out", str(out), *chosen, *more]


def test_from_the_command_line(compiler, tmp_path, capsys, monkeypatch):
    out, report = tmp_path / "out.json", tmp_path / "report.md"
    assert command.main(options(out, "--markdown", str(report), "--dtype", "bfloat16")) == 1  # one does not compile
    content = json.loads(out.read_text())
    assert content["settings"]["target"] == "v5e:2x2" and content["environment"]["jax"] == jax.__version__
    assert "device" not in content["environment"]  # none had a part in it
    (found,) = content["rows"]
    names = ["lax", "naive", "im2col", "kn2row", "winograd2", "im2col, at once"]
    assert list(found["backends"]) == names and found["dtype"] == "bfloat16"
    assert found["backends"]["naive"] == {"error": "MemoryError: out of hbm"}
    assert found["backends"]["winograd2"] == {"cannot": "it needs 3 taps"}
    text = report.read_text()
    assert text.startswith("# Compiled for a TPU") and "Compiled with commit" in text and "Nothing was run" in text
    assert "| ResNet-50 2c | forward | bfloat16 | im2col, at once | 200 | 100 | 2.00 |" in text
    assert "FAILED: forward of ResNet-50 2c, bfloat16 by naive: MemoryError: out of hbm" in text

    # The same again compiles nothing; one more type, only that.
    before = out.read_bytes()
    monkeypatch.setattr(run, "COMMAND", [sys.executable, "-c", WORKER.replace("{START}", "pass").replace("2e-4", "7")])
    assert command.main(options(out, "--dtype", "bfloat16")) == 1 and out.read_bytes() == before
    assert command.main(options(out)) == 1
    rows = json.loads(out.read_text())["rows"]
    assert [(one["dtype"], one["backends"]["lax"]["seconds"]) for one in rows] == [("bfloat16", 2e-4), ("float32", 7)]
    capsys.readouterr()
    assert command.main(["--report-only", "--out", str(out)]) == 1 and "float32" in capsys.readouterr().out


def test_interrupted(compiler, tmp_path, monkeypatch, capsys):
    """What was compiled stays, program by program, and the same command goes on."""
    out = tmp_path / "out.json"
    real, asked = run.Worker.ask, []

    def ask(self, limit, /, **message):
        if message.get("backend") == "kn2row":
            raise KeyboardInterrupt
        asked.append(message.get("backend"))
        return real(self, limit, **message)

    with monkeypatch.context() as patched:
        patched.setattr(run.Worker, "ask", ask)
        assert command.main(options(out, "--dtype", "float32")) == 130
    assert "goes on from there" in capsys.readouterr().out
    assert list(json.loads(out.read_text())["rows"][0]["backends"]) == ["lax", "naive", "im2col"]
    command.main(options(out, "--dtype", "float32"))
    assert len(json.loads(out.read_text())["rows"][0]["backends"]) == 6


def test_a_program_that_takes_too_long_is_kept_as_such(compiler, tmp_path, monkeypatch, capsys):
    """And asked for again only by who waits longer."""
    out, report = tmp_path / "out.json", tmp_path / "report.md"
    real, asked, needs = run.Worker.ask, [], 200.0

    def ask(self, limit, /, **message):
        if message["do"] == "compile":
            asked.append((message["backend"], limit))
        slow = message.get("backend") == "kn2row" and limit < needs
        return {"error": "compile took longer", "timeout": limit} if slow else real(self, limit, **message)

    def compile_for(minutes):
        asked.clear()
        command.main(options(out, "--dtype", "float32", "--limit", minutes, "--markdown", str(report)))
        (found,) = json.loads(out.read_text())["rows"]
        return found["backends"]["kn2row"], report.read_text()

    monkeypatch.setattr(run.Worker, "ask", ask)
    entry, text = compile_for("2.5")
    assert entry == {"timeout": 150.0} and {limit for _, limit in asked} == {150.0}
    assert "Not compiled within 2.5 minutes: forward of ResNet-50 2c, float32 by kn2row." in text
    assert "| kn2row | 0 | 0 | 0 | 1 | 0 | 0 |" in text and "by kn2row: " not in text
    for less in ("2.5", "1"):
        assert compile_for(less) == (entry, text) and not asked
    entry, text = compile_for("5")
    assert asked == [("kn2row", 300.0)] and entry["seconds"] == 3e-4 and "Not compiled" not in text
    capsys.readouterr()


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "long"])
def test_no_time_to_wait(limit, compiler, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(options(tmp_path / "out.json", "--limit", limit))
    assert stopped.value.code == 2 and "--limit" in capsys.readouterr().err


@pytest.mark.parametrize("start, words", [('raise RuntimeError("locked")', "locked"), ("sys.exit(3)", "exit code 3")])
def test_a_compiler_that_does_not_start_says_nothing_of_programs(start, words, compiler, tmp_path, capsys):
    out = tmp_path / "out.json"
    compiler(start)
    with pytest.raises(SystemExit) as stopped:
        command.main(options(out))
    assert stopped.value.code == 2 and not out.exists()
    message = capsys.readouterr().err
    assert "the compiler does not start" in message and words in message


def test_without_the_compiler(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        command.main(options(tmp_path / "out.json"))
    assert stopped.value.code == 2 and "pip install 'jaxconv[tpu]'" in capsys.readouterr().err


def test_wrong_requests(compiler, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--layer", "nothing like it", "--out", str(tmp_path / "out.json")])
    assert stopped.value.code == 2 and "no layer has 'nothing like it' in its name" in capsys.readouterr().err
