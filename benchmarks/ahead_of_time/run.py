"""Compiles jobs one after the other and keeps what comes of each."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.compiling import started
from jaxconv._algorithm import MAX_WORKSPACE_BYTES
from jaxconv._algorithms import ALGORITHMS
from jaxconv._bench.job import Job
from jaxconv._bench.process import Worker
from jaxconv._bench.results import Results, Row

BACKENDS = ("lax", *(name for name in ALGORITHMS if name != "xla"))  # which is lax's own program
COMMAND = [sys.executable, "-m", "benchmarks.ahead_of_time.worker"]
# The bounds on workspace that a program may be compiled under: what holds unless a user says otherwise, and one under
# which whatever can be computed in one go is, so that no loop keeps the compiler's counts from meaning all of it.
BOUNDS = {"": MAX_WORKSPACE_BYTES, "at once": 2**31}
STARTING = 600.0  # seconds after which the compiler is taken to hang


def compile_all(jobs: Iterable[Job], backends: list[str], limit: float, results: Results, console: Console) -> None:
    """Compile what `results` does not have yet, and put it there, program by program, each for `limit` seconds at most.

    Raises:
      ResultsError: if there is no compiler, which says nothing of any program.
    """
    jobs = list(jobs)
    worker = started(COMMAND, STARTING)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=len(jobs) * len(BOUNDS))
            # All under the one bound before any under the other, which takes longer and tells less.
            for variant in BOUNDS:
                for job in jobs:
                    progress.update(task, description=", ".join((job.name, job.direction, job.dtype, variant)))
                    if not console.is_terminal:
                        console.print(f"{job.name}, {job.direction}, {job.dtype}, {variant}", highlight=False)
                    for name, entry in compiled(job, backends, variant, limit, results, worker):
                        row = results.get(job) or {**job.to_json(), "products": job.layer.products, "backends": {}}
                        results.put({**row, "backends": {**row["backends"], name: entry}})
                    worker.stop()  # what the compiler keeps adds up to gigabytes; the next question starts it
                    progress.advance(task)
    finally:
        worker.stop()


def compiled(
    job: Job, backends: list[str], variant: str, limit: float, results: Results, worker: Worker
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The missing programs of a job under a bound, and those that were given less time before: {"timeout": seconds}."""
    for backend in backends:
        there = (results.get(job) or {"backends": {}})["backends"]
        name = labelled(backend, variant)
        missing = name not in there or there[name].get("timeout", limit) < limit
        if missing and (not variant or worth_it(there[backend])):
            answer = worker.ask(limit, do="compile", job=job.to_json(), backend=backend, bound=BOUNDS[variant])
            yield name, {"timeout": limit} if "timeout" in answer else answer


def worth_it(entry: Row) -> bool:
    """Whether more workspace may make it another program: one that had a loop, or none for want of space."""
    return bool(entry.get("loops")) or "bytes of workspace" in entry.get("cannot", "")


def labelled(backend: str, variant: str) -> str:
    """Its name in the results."""
    return f"{backend}, {variant}" if variant else backend
