"""The benchmarks where JAX's device is no CPU, as far as a CPU can tell: who has the device, what PyTorch runs on, what
is written down. Nothing here has been run on a GPU or TPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmarks.cost import measure, rows
from benchmarks.models import __main__ as models
from jaxconv.__main__ import main
from jaxconv._bench import by_torch, device, process, worker
from jaxconv._bench.device import Device
from jaxconv._bench.environment import environment
from jaxconv._bench.job import CannotError, Job
from jaxconv._bench.layer import Layer
from jaxconv._bench.memory import peak_bytes, peak_on
from jaxconv._bench.results import Results
from jaxconv._bench.run import Settings, measure_all

GPU, TPU = Device("cuda", "NVIDIA H100"), Device("tpu", "TPU v5 lite")
JOB = Job("tiny", None, "dense", Layer(1, 2, (5, 5), 3, 3), "forward", "float32", "NHWC")


def test_the_device_is_found_in_another_process(monkeypatch):
    assert device.find() == device.mine() == Device("cpu", "cpu")
    monkeypatch.setenv("JAX_PLATFORMS", "nowhere")
    with pytest.raises(RuntimeError, match="JAX finds no device: .*nowhere"):
        device.find()


def test_whoever_starts_the_measuring_processes_takes_no_device():
    """A TPU would be theirs alone, and a GPU's memory taken. Where there is none, asking for it would fail."""
    script = """
import sys, tempfile
from pathlib import Path
from benchmarks.models import __main__, run, start
from benchmarks.models.architectures import MODELS
from jaxconv._bench.device import Device
from jaxconv._bench import environment, job, run, suites
from jaxconv._command import bench
environment.environment(Device("tpu", "TPU v5 lite"))
with tempfile.TemporaryDirectory() as folder:
    start.save(Path(folder) / "start.npz", MODELS["DCGAN"], 1)
print("no device")
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "nowhere"},
        cwd=Path(__file__).parent.parent,
    )
    assert run.stdout == "no device\n", run.stderr


@pytest.mark.parametrize("found, processes", [(GPU, 3), (TPU, 1)])
def test_a_tpu_has_one_process(found, processes, tmp_path, monkeypatch):
    started = []
    script = "from jaxconv._bench import by_jax, worker; by_jax.PRODUCTS = ((8, 8, 8),); worker.main()"

    def command():
        started.append(1)
        return [sys.executable, "-c", script]

    monkeypatch.setattr(process, "command", command)
    results = Results(tmp_path / "out.json", {})
    measure_all([JOB], ["lax", "im2col"], results, Settings(1, 0.001), Console(quiet=True), found)
    (row,) = results.rows.values()
    assert len(started) == processes
    assert row["backends"]["lax"]["median"] > 0 and row["backends"]["im2col"]["median"] > 0
    assert row["matmul"] > 0 and row["elementwise"] > 0
    assert row["backends"]["lax"]["checksums"] == pytest.approx(row["backends"]["im2col"]["checksums"], rel=1e-5)


def test_what_a_process_takes_with_it_when_it_ends():
    asked = process.Worker()
    try:
        message = asked.ask(60, do="time", backend="lax", seconds=0.1)["error"]
        assert message.startswith("nothing is prepared by lax: the process has ended since")
    finally:
        asked.stop()


def test_what_pytorch_runs_on(monkeypatch):
    assert by_torch.device_on("cpu") == "cpu" and by_torch.device_on("tpu") is None
    torch = pytest.importorskip("torch")
    for there, name in ((False, None), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert by_torch.device_on("cuda") == by_torch.device_on("rocm") == name
    with pytest.raises(CannotError, match="no such device"):  # rather than on another one
        worker.prepare("torch", JOB, "tpu")


@pytest.mark.parametrize("command, option", [(main, "--against"), (models.main, "--contestant")])
def test_pytorch_is_left_out_where_it_has_no_such_device(command, option, monkeypatch, capsys, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setattr("jaxconv._bench.device.find", lambda: TPU)
    monkeypatch.setattr(models, "find", lambda: TPU)
    measured = []
    monkeypatch.setattr("jaxconv._bench.run.measure_all", lambda jobs, backends, *_: measured.extend(backends))
    monkeypatch.setattr(models, "measure", lambda model, contestants, *_: measured.extend(contestants) or {}["stop"])
    first = ["bench"] if command is main else []
    out = ["--out", str(tmp_path / "out.json")]
    with pytest.raises(SystemExit) as stopped:
        command([*first, option, "torch", *out])
    assert stopped.value.code == 2 and "JAX runs on tpu, and the PyTorch" in capsys.readouterr().err
    with pytest.raises((SystemExit, KeyError)):  # nothing to report, as nothing was measured
        command([*first, *out])
    assert "lax" in measured and "torch" not in measured
    assert "PyTorch is left out: JAX runs on tpu" in capsys.readouterr().out


def test_pytorch_on_a_gpu_is_waited_for(monkeypatch):
    """On the CPU by its second name, with a GPU's functions in place of those that PyTorch for CPUs has not."""
    torch = pytest.importorskip("torch")
    from benchmarks.models import by_torch as training
    from benchmarks.models import start
    from benchmarks.models.architectures import MODELS

    calls = []
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("waited"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("peak forgotten"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    for direction in ("forward", "input-grad", "weight-grad"):
        job = JOB._replace(direction=direction)
        prepared, expected = by_torch.prepare(job, "cpu:0"), by_torch.prepare(job)
        assert calls.pop() == "peak forgotten" and not calls
        for variant, call in prepared.calls.items():
            out = prepared.value(call())
            assert calls.pop() == "waited" and not calls
            assert (out == expected.value(expected.calls[variant]())).all() and not calls
        assert prepared.peak() == 123 and expected.peak is peak_bytes

    model = MODELS["DCGAN"]._replace(image=(16, 16, 3), width=1 / 8, stages=2)
    arrays = start.parameters(model), start.data(model, 2)
    step = training.prepare(model, *arrays, "cpu:0").starts["contiguous"]()
    plain = training.prepare(model, *arrays).starts["contiguous"]()
    assert step() == plain() and calls == ["waited"]
    assert torch.backends.cudnn.benchmark


def test_peak_memory_of_a_device():
    """It counts since the process began: what does not exceed that is unknown."""
    stats = {"peak_bytes_in_use": 100}
    there = SimpleNamespace(platform="gpu", memory_stats=lambda: dict(stats))
    peak = peak_on(there)
    assert peak() is None
    stats["peak_bytes_in_use"] = 150
    assert peak() == 150 and peak_on(there)() is None
    assert peak_on(SimpleNamespace(platform="tpu", memory_stats=lambda: None))() is None
    assert peak_on(SimpleNamespace(platform="cpu")) is peak_bytes and peak_bytes() > 1e6


def test_what_is_written_down(monkeypatch):
    found = environment(TPU)
    assert (found["platform"], found["device"]) == ("tpu", "TPU v5 lite")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    found = environment()
    assert (found["platform"], found["memory"]) == ("cpu", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1")


def test_times_of_other_devices_do_not_reach_the_cost_model(tmp_path):
    path, conditions = tmp_path / "bench.json", {"platform": "cuda", "cores": 8}
    for content in ({"environment": conditions, "rows": []}, {"conditions": conditions, "convolutions": []}):
        path.write_text(json.dumps(content))
        with pytest.raises(SystemExit, match="was measured on cuda: the model is of CPUs"):
            rows.condense([path])
        with pytest.raises(SystemExit, match="was measured on cuda"):
            measure.merge([path], anew=False)
