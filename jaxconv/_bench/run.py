"""Measures jobs: every backend in a process of its own, as far as the device allows, taking turns."""

import math
import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .device import Device
from .job import Job
from .process import Worker
from .results import Results, Row

FAILURES = {"cannot", "error"}
COMPILING = 600.0  # seconds after which a backend is taken to hang
YARDSTICKS = ("matmul", "elementwise")  # what the machine itself can do, in a process of their own
YARDSTICK_SECONDS = 0.1  # for each of their variants in each round
AGREEMENT = {"float32": 1e-4, "bfloat16": 1e-2, "float64": 1e-9}  # relative, of sums of squares


class Settings(NamedTuple):
    """Rounds over the backends, seconds for each in each, and the most seconds that a first call may take."""

    rounds: int = 3
    seconds: float = 0.3
    limit: float = 20.0


def measure_all(
    jobs: Iterable[Job], backends: list[str], results: Results, settings: Settings, console: Console, device: Device
) -> None:
    """Measure what `results` does not have yet, and put it there."""
    jobs = list(jobs)
    workers: dict[str, Worker] = {}
    only = None if device.shared else Worker()  # what one process has at a time, one process must do
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=len(jobs))
            for job in jobs:
                words = ", ".join((job.suite, job.name, job.direction, job.dtype, job.layout))
                progress.update(task, description=words)
                old = results.get(job)
                there = list(old["backends"]) if old else []
                wanted = [*backends, *(name for name in there if name not in backends)]
                if set(there) != set(wanted):  # backends can be compared only if they took turns: all of them again
                    if not console.is_terminal:
                        console.print(words, highlight=False)
                    for name in (*wanted, "yardsticks"):
                        workers.setdefault(name, only or Worker())
                    turns = {name: workers[name] for name in wanted}
                    results.put(measure(job, turns, workers["yardsticks"], settings, device.platform))
                progress.advance(task)
    finally:
        for worker in workers.values():
            worker.stop()


def measure(job: Job, workers: dict[str, Worker], own: Worker, settings: Settings, platform: str = "cpu") -> Row:
    """One row: what each backend took, and what `own` found the machine's yardsticks to be at that time."""

    def prepare(name: str, worker: Worker) -> dict[str, Any]:
        return _prepare(worker, settings, backend=name, job=job.to_json(), platform=platform)

    entries = {name: prepare(name, worker) for name, worker in workers.items()}
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in (*workers, *YARDSTICKS)}
    running = [name for name, entry in entries.items() if "compile" in entry and "median" not in entry]
    yardsticks = {name: prepare(name, own) for name in YARDSTICKS}

    def time(name: str, worker: Worker, entry: dict[str, Any], seconds: float) -> None:
        if not FAILURES & entry.keys():
            asked = {"backend": name, "seconds": seconds, "variants": entry["timed"]}
            answer = worker.ask(COMPILING, do="time", **asked)
            for variant, times in answer.get("times", {}).items():
                samples[name].setdefault(variant, []).extend(times)
            entry |= {key: answer[key] for key in FAILURES & answer.keys()}

    for turn in range(settings.rounds):
        for name in [*running[turn % len(running) :], *running[: turn % len(running)]] if running else []:
            time(name, workers[name], entries[name], settings.seconds)
        for name, entry in yardsticks.items():
            time(name, own, entry, YARDSTICK_SECONDS)
    for name, worker in (*workers.items(), *((name, own) for name in YARDSTICKS)):
        if worker.process is not None:
            worker.ask(COMPILING, do="release", backend=name)
    for name in running:
        if not FAILURES & entries[name].keys():
            entries[name] |= speed(samples[name])
    mark_wrong(entries, AGREEMENT[job.dtype])
    rates = [yardsticks["matmul"]["flops"][size] / min(times) for size, times in samples["matmul"].items()]
    own_figures = {
        "matmul": max(rates, default=None),
        "elementwise": speed(samples["elementwise"])["median"] if samples["elementwise"] else None,
    }
    return _rounded({**job.to_json(), "macs": job.layer.macs, **own_figures, "backends": entries})


def speed(samples: dict[str, list[float]]) -> dict[str, Any]:
    """Median, quartiles and fastest of the variant that has the smallest median, in seconds."""
    variant, times = min(samples.items(), key=lambda item: statistics.median(item[1]))
    low, median, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    figures = {"median": median, "quartiles": [low, high], "fastest": min(times), "samples": len(times)}
    return {**figures, "variant": variant} if variant else figures


def _prepare(worker: Worker, settings: Settings, **message: Any) -> dict[str, Any]:
    """Compile time and memory, and what a backend that cannot, or may not be called again, leaves in the row."""
    prepared = worker.ask(COMPILING, do="prepare", **message)
    if "compile" not in prepared:
        return prepared
    first = worker.ask(settings.limit, do="first call", backend=message["backend"])
    if "seconds" not in first:
        return first
    quick = [variant for variant, seconds in first["seconds"].items() if seconds <= settings.limit / 4]
    entry = {**prepared, "peak": first["peak"], "checksums": first["checksums"], "timed": quick}
    if not quick:  # one sample must do
        entry |= speed({variant: [seconds] for variant, seconds in first["seconds"].items()})
    return entry


def mark_wrong(entries: dict[str, dict[str, Any]], tolerance: float) -> None:
    """Whoever computed something else than the first that computed numbers is marked."""
    found = (checksum for entry in entries.values() for checksum in entry.get("checksums", ()))
    expected = next(filter(math.isfinite, found), math.nan)
    for entry in entries.values():
        if any(not abs(checksum - expected) <= tolerance * abs(expected) for checksum in entry.get("checksums", ())):
            entry["wrong"] = True
        entry.pop("flops", None)
        entry.pop("timed", None)


def _rounded(value: Any) -> Any:
    """Floats to six digits, wherever they are; in words what JSON has no numbers for, as a wrong checksum may be."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value
