"""The benchmark of training steps, on networks of a few channels and blocks."""

import importlib.util
import json
import math
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from counting import convolutions
from flax import nnx

import benchmarks.models
import jaxconv
from benchmarks.models import __main__ as command
from benchmarks.models import by_jax, in_flax, run, start, worker
from benchmarks.models.architectures import MODELS, Model
from benchmarks.models.report import sheets
from benchmarks.models.steps import training_step
from benchmarks.models.training import losses
from jaxconv._bench.device import Device
from jaxconv._bench.report import write_markdown

BATCH, STEPS = 2, 2
CPU = Device("cpu", "cpu")
TINY = {
    name: model._replace(image=(16, 16, 3), classes=min(model.classes, 10), width=1 / 8, blocks=1, stages=2)
    for name, model in MODELS.items()
}
TINY["ResNeXt-50 32x4d"] = TINY["ResNeXt-50 32x4d"]._replace(stages=1)
TINY["WaveNet"] = TINY["WaveNet"]._replace(image=(40, 6))
TINY["3-D U-Net"] = TINY["3-D U-Net"]._replace(image=(4, 6, 8, 3))
PAPERS = {  # parameters: as torchvision has them, as the paper (19.07 million), as PyTorch's example, counted by hand
    "MobileNetV2": 3504872,
    "ResNeXt-50 32x4d": 25028904,
    "ConvNeXt-T": 28589128,
    "3-D U-Net": 19073187,
    "DCGAN": 3576704 + 2765568,
    "WaveNet": (2 * 256 + 1) * 64 + 30 * ((2 * 64 + 1) * 128 + 65 * 64 + 65 * 256) + 2 * 257 * 256,
}

each_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@cache
def beginning(model: Model):
    return start.parameters(model), start.data(model, BATCH)


@cache
def by_lax(name):
    """Losses of the first steps."""
    return losses(by_jax.prepare("lax", TINY[name], *beginning(TINY[name])), 5)[""]


@each_model
def test_as_large_as_published(name):
    states = [nnx.state(part, nnx.Param) for part in in_flax.build(MODELS[name]).values()]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(states)) == PAPERS[name]


@each_model
def test_it_learns(name):
    assert np.isfinite(by_lax(name)).all()
    if name != "DCGAN":  # whose halves learn against each other
        assert by_lax(name)[-1] < by_lax(name)[0]


@each_model
def test_ours_learns_the_same(name, monkeypatch):
    model, accelerate = TINY[name], partial(jaxconv.accelerate, algorithm="im2col")
    parameters, data = beginning(model)
    step, state = training_step(model, parameters)
    theirs, ours = convolutions(accelerate(step), state(), data)
    assert theirs == 0 and convolutions(step, state(), data) == (ours, 0)

    monkeypatch.setattr(jaxconv, "accelerate", accelerate)
    got = losses(by_jax.prepare("jaxconv", model, parameters, data), STEPS)[""]
    np.testing.assert_allclose(got, by_lax(name)[:STEPS], 1e-4)


@each_model
def test_torch_learns_the_same(name):
    torch = pytest.importorskip("torch")
    from benchmarks.models import by_torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = losses(by_torch.prepare(TINY[name], *beginning(TINY[name])), STEPS)
    finally:
        torch.set_num_threads(before)
    assert set(found) == ({"contiguous"} if name == "WaveNet" else {"contiguous", "channels last"})
    for got in found.values():
        np.testing.assert_allclose(got, by_lax(name)[:STEPS], 1e-4)


def test_the_start_goes_through_its_file(tmp_path):
    model = TINY["DCGAN"]
    start.save(tmp_path / "start.npz", model, BATCH)
    jax.tree.map(np.testing.assert_array_equal, start.load(tmp_path / "start.npz"), beginning(model))
    assert Model.from_json(json.loads(json.dumps(model._asdict()))) == model


def entry(seconds, losses, **more):
    return {"median": seconds, "quartiles": [0.9 * seconds, 1.1 * seconds], "samples": 3, "losses": losses, **more}


def test_who_learns_something_else_is_marked():
    entries: dict[str, dict[str, Any]] = {
        "lax": {"losses": {"": [2.0, 1.0]}},
        "jaxconv": {"losses": {"": [2.0, 1.0 + 2e-4]}},
        "jaxconv, plan": {"losses": {"": [2.0, 1.0 + 2e-3]}},
        "torch": {"losses": {"contiguous": [2.0, 1.0 + 2e-3], "channels last": [2.01, 1.0]}},
    }
    run.compare(entries)
    assert [entry.get("wrong", False) for entry in entries.values()] == [False, False, True, False]
    found = [entry["difference"] for entry in entries.values()]
    np.testing.assert_allclose(found, [0, 2e-4, 2e-3, 5e-3], rtol=1e-6)
    assert run.difference([1.0, math.nan], [1.0, 1.0]) == math.inf


def test_report(tmp_path):
    settings = run.Settings()
    rows = []
    for name, factor in (("DCGAN", 1), ("MobileNetV2", 4)):
        entries = {
            "lax": entry(0.4, {"": [1.0]}, compile=2.5),
            "jaxconv": entry(0.2 / factor, {"": [1.0001]}, compile=3.0),
            "jaxconv, plan": {"error": "no plan"},
            "torch": entry(0.1, {"contiguous": [1.001]}),
        }
        run.compare(entries)
        rows.append({**run.identity(MODELS[name], settings), "backends": entries})
    write_markdown(tmp_path / "models.md", {"settings": settings._asdict()}, sheets(rows), "Steps", "In short.")
    text = (tmp_path / "models.md").read_text()
    said = "batch 8, rounds 3, seconds 2.0, steps 5, momentum 0.9, keep_memory False"
    assert text.startswith(f"# Steps\n\nMeasured with {said}.")
    assert "| DCGAN | 400 ±10% | 200 ±10% | failed | 100 ±10% | 2.00 | - | 0.50 | - | 1e-04 | - | 1e-03 |" in text
    assert "| MobileNetV2 | 400 ±10% | 50.0 ±10% |" in text
    assert "| geometric mean |  |  |  |  | 4.00 | - | 1.00 | - |  |  |  |" in text
    assert "| model | lax compile | jaxconv compile |" in text and "| DCGAN | 2.5 | 3.0 |" in text
    assert "FAILED: DCGAN by jaxconv, plan: no plan" in text


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Each contestant in its own process; measured again only when asked."""
    monkeypatch.setitem(MODELS, "ConvNeXt-T", TINY["ConvNeXt-T"]._replace(stages=1, blocks=1))
    for name in set(MODELS) - {"ConvNeXt-T"}:
        monkeypatch.delitem(MODELS, name)
    out, report = tmp_path / "out.json", tmp_path / "report.md"
    small = ["--batch", "1", "--rounds", "2", "--seconds", "0.001", "--out", str(out)]
    contestants = ["--contestant", "lax", "--contestant", "jaxconv"]
    assert command.main([*small, *contestants, "--markdown", str(report)]) == 0
    content = json.loads(out.read_text())
    assert content["environment"]["jax"] == jax.__version__ and content["settings"]["rounds"] == 2
    (row,) = content["rows"]
    assert list(row["backends"]) == ["lax", "jaxconv"]
    for found in row["backends"].values():
        assert found["quartiles"][0] <= found["median"] <= found["quartiles"][1] and found["samples"] >= 2
        assert found["compile"] > 0 and len(found["losses"][""]) == 5 and found["difference"] < 1e-3
    assert "| ConvNeXt-T |" in report.read_text()

    monkeypatch.setattr(command, "measure", lambda *_: pytest.fail("measured again"))
    assert command.main([*small, *contestants]) == 0
    with pytest.raises(pytest.fail.Exception):
        command.main([*small, *contestants, "--model", "ConvNeXt-T"])
    with pytest.raises(SystemExit):
        command.main([*small, "--rounds", "3"])
    assert "rounds is 3, there it is 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main([*small, "--keep-memory"])
    assert "keep_memory is True, there it is False" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("contestant", ["lax", "jaxconv", "torch"])
def test_memory_is_kept_by_all_or_none(contestant, keep, monkeypatch):
    """Before anything is computed, or JAX could not."""
    called = []
    monkeypatch.setattr(jaxconv, "keep_memory", lambda: called.append("keep_memory"))
    monkeypatch.setattr(worker, "keep_freed", lambda: called.append("keep_freed"))
    monkeypatch.setattr(worker, "load", lambda start: ({}, {}))
    monkeypatch.setattr(by_jax, "prepare", lambda *_: called.append("prepared"))
    by_torch = SimpleNamespace(prepare=lambda *_: called.append("prepared"))
    monkeypatch.setattr(benchmarks.models, "by_torch", by_torch, raising=False)  # PyTorch may not be there
    monkeypatch.setattr(worker, "device_on", lambda platform: "cpu")
    worker.prepare(contestant, TINY["DCGAN"], Path("start.npz"), "cpu", keep)
    kept = ["keep_freed" if contestant == "torch" else "keep_memory"] if keep else []
    assert called == [*kept, "prepared"]


def test_a_contestant_that_fails_leaves_the_others(monkeypatch):
    answers = {"prepare": {"compile": 1.0}, "losses": {"losses": {"": [1.0]}}, "time": {"times": {"": [0.1, 0.3]}}}

    class Worker:
        def __init__(self, command):
            pass

        def ask(self, limit, do, contestant, **message):
            assert do != "prepare" or message["keep_memory"]
            return {"error": "out of memory"} if (contestant, do) == ("jaxconv", "losses") else answers[do]

        def stop(self):
            pass

    monkeypatch.setattr(run, "Worker", Worker)
    entries = run.measure(TINY["DCGAN"], ["lax", "jaxconv"], run.Settings(rounds=2, keep_memory=True), CPU)["backends"]
    assert entries["lax"]["median"] == 0.2 and entries["lax"]["samples"] == 4
    assert entries["jaxconv"] == {"compile": 1.0, "error": "out of memory"}


def test_without_torch(monkeypatch, capsys):
    monkeypatch.setattr(command, "find", lambda: CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        command.main(["--contestant", "torch"])
    assert stopped.value.code == 2 and "torch cannot be: it is not installed" in capsys.readouterr().err
