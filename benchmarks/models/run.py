"""Measures models: every contestant in a process of its own, as far as the device allows, taking turns."""

import math
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from jaxconv._bench.device import Device
from jaxconv._bench.process import Worker
from jaxconv._bench.results import Row
from jaxconv._bench.run import speed

from .architectures import Model
from .start import save
from .training import MOMENTUM, STEPS

CONTESTANTS = ("lax", "jaxconv", "jaxconv, plan", "torch")
PATIENCE = 3600.0  # seconds after which a contestant is taken to hang
TOLERANCE = {"torch": 1e-2}  # relative, of every loss
OURS = 1e-3  # the same for the others


class Settings(NamedTuple):
    """Images in a step; rounds over the contestants, seconds for each in each; steps to compare losses of; momentum;
    whether processes keep their memory, as `jaxconv.keep_memory` says, those of PyTorch as well."""

    batch: int = 8
    rounds: int = 3
    seconds: float = 2.0
    steps: int = STEPS
    momentum: float = MOMENTUM
    keep_memory: bool = False


def command() -> list[str]:
    """What starts a process."""
    return [sys.executable, "-m", "benchmarks.models.worker"]


def identity(model: Model, settings: Settings) -> Row:
    """What a row begins with."""
    return {
        "suite": "models",
        "batch": settings.batch,
        "name": model.name,
        "layer": model._asdict(),
        "direction": "training step",
        "dtype": "float32",
        "layout": "channels last",
    }


def measure(model: Model, contestants: list[str], settings: Settings, device: Device) -> Row:
    """One row: what a step takes by each contestant, and whether all learn the same."""
    only = None if device.shared else Worker(command())  # what one process has at a time, one process must do
    workers = {name: only or Worker(command()) for name in contestants}
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.npz"
        save(start, model, settings.batch)
        try:
            what = {
                "model": model._asdict(),
                "start": str(start),
                "platform": device.platform,
                "keep_memory": settings.keep_memory,
            }
            entries = {name: _prepare(name, worker, what) for name, worker in workers.items()}
            samples: dict[str, dict[str, list[float]]] = {name: {} for name in contestants}
            for turn in range(settings.rounds):
                for name in [*contestants[turn % len(contestants) :], *contestants[: turn % len(contestants)]]:
                    if "error" not in entries[name]:
                        answer = workers[name].ask(PATIENCE, do="time", contestant=name, seconds=settings.seconds)
                        for variant, times in answer.get("times", {}).items():
                            samples[name].setdefault(variant, []).extend(times)
                        entries[name] |= {key: answer[key] for key in ("error",) if key in answer}
        finally:
            for worker in workers.values():
                worker.stop()
    for name, entry in entries.items():
        if "error" not in entry:
            entry |= speed(samples[name])
    compare(entries)
    return {**identity(model, settings), "backends": entries}


def _prepare(name: str, worker: Worker, what: dict[str, Any]) -> dict[str, Any]:
    """What preparing took, and the first losses, which warm it up."""
    costs = worker.ask(PATIENCE, do="prepare", contestant=name, **what)
    if "error" in costs:
        return costs
    return {**costs, **worker.ask(PATIENCE, do="losses", contestant=name)}


def compare(entries: dict[str, dict[str, Any]]) -> None:
    """Say of each how far its losses are from those of the first that has any, and mark who learnt something else."""
    expected = next((losses for entry in entries.values() for losses in entry.get("losses", {}).values()), [])
    for name, entry in entries.items():
        if "losses" in entry:
            entry["difference"] = max(difference(losses, expected) for losses in entry["losses"].values())
            if not entry["difference"] <= TOLERANCE.get(name, OURS):
                entry["wrong"] = True


def difference(losses: list[float], expected: list[float]) -> float:
    """The largest in any step, relative; infinite where a loss is no number."""
    apart = [abs(got - loss) / abs(loss) for got, loss in zip(losses, expected, strict=True)]
    return max(part if math.isfinite(part) else math.inf for part in apart)
